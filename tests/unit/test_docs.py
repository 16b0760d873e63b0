"""README.md and docs/: links lead somewhere, commands exist, and nothing is left unsaid."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from testbed.cli import main as cli
from testbed.experiment.scenario import json_schema
from testbed.experiment.workload import find_workload

ROOT = Path(__file__).resolve().parents[2]
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [*sorted(ROOT.glob("*.md")), *DOCS]
README = (ROOT / "README.md").read_text()


def commands(page: Path) -> Iterator[list[str]]:
    """Every `testbed …` of a page: in blocks, a line each; in the text, between backticks."""
    text = page.read_text()
    found = re.findall(r"^ *(testbed .+?)(?:  +#.*)?$", text, re.MULTILINE)
    found += re.findall(r"`(testbed [^`]+)`", text)
    for line in found:
        yield shlex.split(line.replace("…", "").replace("&&", ";"), comments=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    for link in links:
        if not link.startswith("https://"):
            assert (page.parent / link.partition("#")[0]).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_exists(page: Path) -> None:
    context = click.Context(cli.command)
    for words in commands(page):
        verb, *rest = words[1:]
        if not re.fullmatch(r"[a-z]+", verb):
            continue  # `testbed VERB`, or an option of the command itself
        found = cli.command.get_command(context, verb)
        assert found is not None, words
        known = {name for each in found.params for name in each.opts} | {"--help"}
        ours = rest[: rest.index("--")] if "--" in rest else rest
        given = {re.split(r"[=\]]", word.lstrip("["))[0] for word in ours if "--" in word}
        assert given <= known, words


def test_the_readme_has_every_verb_in_its_table() -> None:
    table = set(re.findall(r"^\| `testbed (\w+)", README, re.MULTILINE))
    assert table == set(cli.command.list_commands(click.Context(cli.command)))


def test_the_readme_leads_to_every_page() -> None:
    assert {f"docs/{page.name}" for page in DOCS} <= set(re.findall(r"\]\((docs/\w[^)#]*)", README))


def keys(
    node: dict[str, Any], every: dict[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """Every key of a schema by its dotted path; of a list of sections, those of its elements."""
    for name, value in node["properties"].items():
        (inner,) = list(sections(value, every))[:1] or [None]
        if inner is None:
            yield prefix + name, value
        else:
            yield from keys(inner, every, f"{prefix}{name}.")


def sections(value: Any, every: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The sections that a value may be."""
    if isinstance(value, list):
        for each in value:
            yield from sections(each, every)
    elif isinstance(value, dict):
        if "$ref" in value:
            value = every[value["$ref"].rpartition("/")[2]]
            if "properties" in value:
                yield value
        for part in ("anyOf", "oneOf", "items"):
            yield from sections(value.get(part), every)


def test_every_key_of_a_scenario_is_described_with_its_choices() -> None:
    schema = json_schema(find_workload("dualpath").scenario_type)
    page = (ROOT / "docs" / "scenario.md").read_text()
    rows = dict(re.findall(r"^\| `([\w.]+)` \| (.*?) \|", page, re.MULTILINE))
    known = dict(keys(schema, schema["$defs"]))
    assert rows.keys() == known.keys()
    for key, value in known.items():
        if "default" in value and (choices := value.get("enum")):
            assert set(choices) == set(re.findall(r"`([^`]+)`", rows[key])), key
            assert rows[key].startswith(f"`{value['default']}`"), key
        assert "default" not in value or rows[key] != "*required*", key
