"""`testbed model`: the presets, and a model's cache/compute ratio."""

from __future__ import annotations

import json

import click
import pytest
from click.testing import CliRunner, Result

from agents.cli.verbs import VERBS
from agents.models import PRESETS
from testbed.cli import main as cli


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.command, arguments)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_of_the_table_has_a_module_with_its_command(verb: str) -> None:
    assert isinstance(cli.command, click.Group)
    found = cli.command.get_command(click.Context(cli.command), verb)
    assert found is not None and found.name == verb and found.help


def test_without_a_name_the_presets_are_listed() -> None:
    shown = run("model")
    assert shown.exit_code == 0
    assert [line.split()[0] for line in shown.output.splitlines()] == ["model", *PRESETS]
    listed = json.loads(run("model", "--json").output)["models"]
    assert [one["name"] for one in listed] == list(PRESETS)


def test_a_turn_of_a_model_in_bytes_flops_and_their_ratio() -> None:
    arguments = ("model", "qwen2.5-32b", "--context", "16384", "--append", "429")
    shown = json.loads(run(*arguments, "--json").output)
    assert shown["read_bytes"] == 262_144 * 16_384
    assert shown["gb_per_pflop"] == pytest.approx(117, rel=0.01)
    assert shown["gb_per_pflop"] == pytest.approx(
        shown["read_bytes"] / 1e9 / (shown["prefill_flops"] / 1e15)
    )
    assert shown["read_s"] == pytest.approx(shown["read_bytes"] * 8 / 400e9)
    text = run(*arguments).output
    assert "117.1 GB/PFLOP" in text
    assert "117.1 to 267.2 GB/PFLOP (Table 1: 117 to 267)" in text
    assert "none: a dense model" in text


def test_what_is_not_published_is_marked() -> None:
    shown = json.loads(run("model", "ds-27b", "--json").output)
    assert "active_parameters" in shown["derived"]
    text = run("model", "ds-27b").output
    assert "72 routed, 6 of them active" in text
    assert "derived" in text
    assert "not known: state compute.prefill_tflops" in run("model", "ds-v3").output


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("qwen",), 5, "there is no model 'qwen'"),
        (("ds-v3", "--context", "0"), 2, "a turn of 0 tokens"),
        (("ds-v3", "--snic", "400"), 2, "has no unit"),
    ],
)
def test_a_mistake_is_told(arguments: tuple[str, ...], status: int, message: str) -> None:
    shown = run("model", *arguments)
    assert shown.exit_code == status
    assert message in shown.output
