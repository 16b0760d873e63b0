"""Scenarios: everything that is wrong is said at once, with its line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field

from testbed.errors import ScenarioError
from testbed.experiment.scenario import (
    DurationS,
    Scale,
    Scenario,
    Section,
    SizeBytes,
    json_schema,
    load_scenario,
)

GOOD = """\
name: demo
topology: {name: 1p1d, set: {gpus: 4, fast: true, s: 0.5}}
scale: {rate: 4000, bytes: 1000}
duration: 60s
"""


class Buffers(Section):
    """A section of a workload."""

    dram: SizeBytes = 64 << 20
    """Bytes of DRAM."""


class Closed(Section):
    """Agents that wait for each other."""

    kind: Literal["closed"]
    think: DurationS = 0.0


class Clocked(Section):
    """Requests by the clock."""

    kind: Literal["clocked"]
    compression: float = Field(default=1.0, gt=0)


class Mine(Scenario):
    """A workload's scenario."""

    buffers: Buffers = Buffers()
    sessions: Closed | Clocked = Field(discriminator="kind")
    policies: tuple[Literal["pe-only", "shorter-queue"], ...]


def errors_of(text: str, model: type[Scenario] = Scenario, **overrides: str) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        load_scenario(text, model, overrides=overrides)
    assert "--schema" in caught.value.hint
    heading, *lines = caught.value.message.splitlines()
    assert heading.startswith(f"the scenario has {len(lines)} error")
    return [line.strip() for line in lines]


def test_a_good_scenario_has_numbers_where_the_file_has_units() -> None:
    scenario = load_scenario(GOOD, Scenario)
    assert scenario.duration == 60.0
    assert scenario.scale == Scale(4000, 1000)
    assert scenario.arbitration == "fair"
    assert scenario.topology.settings == {"gpus": "4", "fast": "true", "s": "0.5"}


def test_a_file_is_read_by_its_path_and_named_in_errors(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD)
    assert load_scenario(path, Scenario).name == "demo"
    path.write_text(GOOD + "sede: 3\n")
    with pytest.raises(ScenarioError, match=re.escape(f"{path}:5: sede: unknown key")):
        load_scenario(path, Scenario)


def test_every_error_is_reported_at_once_each_with_its_line() -> None:
    found = errors_of(
        "name: demo\n"
        "topolgy: {}\n"
        "topology:\n"
        "  nam: 1p1d\n"
        "scale: {rate: -3}\n"
        "duration: 60\n"
        "arbitration: fiar\n"
        "network:\n"
        "  mtu: 12\n"
        "  burst: 64\n"
    )
    assert [line.split(": ")[:2] for line in found] == [
        ["the scenario:2", "topolgy"],
        ["the scenario:3", "topology.name"],
        ["the scenario:4", "topology.nam"],
        ["the scenario:5", "scale"],
        ["the scenario:6", "duration"],
        ["the scenario:7", "arbitration"],
        ["the scenario:9", "network.mtu"],
        ["the scenario:10", "network.burst"],
    ]


def test_what_is_missing_at_the_top_is_named() -> None:
    assert errors_of("name: demo\nduration: 1s\n") == [
        "the scenario: topology: this key is required"
    ]


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("duraton: 60s\n", "duration"),
        ("network: {leafs: 3}\n", "leaves"),
        ("scale: {bytez: 3}\n", "bytes"),
        ("arbitration: fiar\n", "fair"),
    ],
)
def test_a_misspelt_word_gets_the_one_that_was_meant(text: str, near: str) -> None:
    (line,) = errors_of(
        "name: a\ntopology: {name: x}\nduration: 1s\n".replace(text[:8], "#") + text
    )
    assert f"did you mean {near}?" in line


def test_a_key_like_no_other_gets_the_list() -> None:
    (line,) = errors_of(GOOD + "network: {zzz: 3}\n")
    assert "there are burst, congestion_control, gso_max, leaves, mtu" in line


def test_a_value_where_a_section_belongs_is_said() -> None:
    (line,) = errors_of(GOOD + "network: 9000\n")
    assert line == (
        "the scenario:5: network: 9000 is a value; this is a section with keys of its own: "
        "burst, congestion_control, gso_max, leaves, mtu, queue_packets, rto_min"
    )


def test_a_key_of_another_section_is_told_with_its_path() -> None:
    (line,) = errors_of(GOOD + "mtu: 1500\n")
    assert line == "the scenario:5: mtu: unknown key; did you mean network.mtu?"
    (line,) = errors_of(GOOD + "network: {rate: 3}\n")
    assert line == "the scenario:5: network.rate: unknown key; did you mean scale.rate?"


def test_a_list_among_topology_parameters_is_one_error() -> None:
    (line,) = errors_of("name: a\nduration: 1s\ntopology: {name: x, set: {gpus: [4]}}\n")
    assert "gpus: a parameter is one word or one number" in line


@pytest.mark.parametrize("name", ["Demo", "a/b", "-x", "", "x" * 61])
def test_a_name_that_cannot_be_a_directory_is_refused(name: str) -> None:
    (line,) = errors_of(GOOD.replace("name: demo", f'name: "{name}"'))
    assert line.startswith("the scenario:1: name: ")


@pytest.mark.parametrize(
    "text", ["scale: {rate: 0}\n", "scale: {bytes: .inf}\n", "scale: {rate: fast}\n"]
)
def test_a_scale_that_makes_no_sense_is_refused_at_its_line(text: str) -> None:
    (line,) = errors_of("name: a\ntopology: {name: x}\nduration: 1s\n" + text)
    assert line.startswith("the scenario:4: scale")


def test_a_workload_adds_sections_of_its_own() -> None:
    text = GOOD + "policies: [pe-only]\nsessions: {kind: closed, think: 10s}\n"
    scenario = load_scenario(text, Mine)
    assert scenario.sessions == Closed(kind="closed", think=10.0)
    assert scenario.buffers.dram == 64 << 20


def test_errors_in_a_workloads_sections_have_lines_and_suggestions_too() -> None:
    found = errors_of(
        GOOD
        + "policies:\n  - pe-only\n  - shortest-queue\n"
        + "sessions:\n  kind: closed\n  thikn: 10s\n"
        + "buffers:\n  dram: 5\n",
        Mine,
    )
    assert found == [
        "the scenario:7: policies.1: input should be 'pe-only' or 'shorter-queue', "
        "not 'shortest-queue'; did you mean shorter-queue?",
        "the scenario:10: sessions.thikn: unknown key; did you mean think?",
        'the scenario:12: buffers.dram: 5 is not a size; write it like "64MiB"',
    ]


def test_an_unknown_member_of_a_union_is_named() -> None:
    (line,) = errors_of(GOOD + "policies: [pe-only]\nsessions: {kind: open}\n", Mine)
    assert line.startswith("the scenario:6: sessions")
    assert "'closed', 'clocked'" in line


def test_overrides_are_checked_and_named_like_the_file() -> None:
    assert load_scenario(GOOD, Scenario, overrides={"duration": "5s"}).duration == 5.0
    (line,) = errors_of(GOOD, duration="5")
    assert line == '--set duration: duration: 5 is not a duration; write it like "300ms"'


def test_a_scenario_that_was_stored_is_the_same_again() -> None:
    scenario = load_scenario(GOOD + "network: {burst: 1000B, rto_min: 10s}\n", Scenario)
    assert Scenario.model_validate(scenario.model_dump()) == scenario
    assert Scenario.model_validate_json(scenario.model_dump_json()) == scenario


def test_a_scenario_does_not_change() -> None:
    scenario = load_scenario(GOOD, Scenario)
    with pytest.raises(ValueError, match="frozen"):
        scenario.seed = 2


def test_the_schema_describes_every_key_and_allows_no_other() -> None:
    schema = json_schema(Mine)
    assert schema["$schema"].startswith("https://json-schema.org/")
    sections = [schema, *schema["$defs"].values()]
    assert all(section["additionalProperties"] is False for section in sections)
    assert set(schema["required"]) == {"name", "topology", "duration", "sessions", "policies"}
    for name in Scenario.model_fields:
        assert schema["properties"][name]["description"]
    assert schema["properties"]["duration"]["examples"] == ["300ms"]
