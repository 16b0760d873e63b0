"""The published schema and what is read: both accept the shipped scenarios, and refuse alike."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

import agents
from agents.settings import DualPathScenario
from testbed.errors import ScenarioError
from testbed.experiment.document import Document, Source, parse, read_source, with_overrides
from testbed.experiment.scenario import json_schema, load_scenario
from tests.unit.agents.schema import problems

SHIPPED = sorted((Path(agents.__file__).parent / "scenarios").glob("*.yaml"))
SCHEMA = json_schema(DualPathScenario)
LEAST = "name: made\ntopology: {name: 1p1d}\nscale: {rate: 4000, bytes: 1000}\nduration: 1s\n"


def document(path: Path) -> Document:
    return parse(read_source(path))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_scenarios_match_the_published_schema(path: Path) -> None:
    assert problems(SCHEMA, document(path).content) == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_no_key_of_theirs_may_be_misspelt(path: Path) -> None:
    content = document(path).content
    assert problems(SCHEMA, {**content, "polices": ["pe-only"]}) != []
    for name, section in content.items():
        if name != "topology" and isinstance(section, dict):
            changed: dict[str, Any] = copy.deepcopy(content)
            changed[name]["no_such_key"] = 1
            assert problems(SCHEMA, changed) != [], name


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("engines", "fast"),
        ("duration", "10"),
        ("storage.capacity", "10"),
        ("storage.extent_tokens", "100"),
        ("network.mtu", "100"),
        ("policies", "pe-only"),
        ("window.tolerance", "2"),
        ("seed", "none"),
    ],
)
def test_what_the_schema_refuses_is_refused_when_read(key: str, value: str) -> None:
    right = parse(Source("made", LEAST))
    assert problems(SCHEMA, right.content) == []
    wrong = with_overrides(right, {key: value})
    assert problems(SCHEMA, wrong.content) != []
    with pytest.raises(ScenarioError):
        load_scenario(wrong, DualPathScenario)


def test_a_rule_that_the_check_does_not_know_is_an_error() -> None:
    with pytest.raises(KeyError, match="oneOf"):
        problems({"oneOf": []}, 1)
