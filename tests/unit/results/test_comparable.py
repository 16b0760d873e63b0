from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from testbed.errors import UsageError
from testbed.results.comparable import check, differences, remarks
from testbed.results.load import load
from tests.unit.results.made import SCENARIO, make_run


def changed(**changes: Any) -> dict[str, Any]:
    """The scenario with other values, each dot of a key as two underscores."""
    scenario = copy.deepcopy(SCENARIO)
    for dotted, value in changes.items():
        *path, last = dotted.split("__")
        section = scenario
        for key in path:
            section = section[key]
        section[last] = value
    return scenario


def keys(*scenarios: dict[str, Any]) -> list[str]:
    return [each.key for each in differences(scenarios).varied]


def test_names_seeds_and_policies_are_no_difference() -> None:
    assert keys(SCENARIO, changed(name="other", seed=9, description="x", policies=["basic"])) == []


def test_values_that_differ_are_found_wherever_they_are() -> None:
    other = changed(workload__agents=16, topology__name="2p4d", scale__rate=4000.0)
    found = differences([SCENARIO, other, SCENARIO])
    assert {each.key: each.values for each in found.varied} == {
        "topology.name": ["1p1d", "2p4d", "1p1d"],
        "scale.rate": [2000.0, 4000.0, 2000.0],
        "workload.agents": [8, 16, 8],
    }
    assert found.unknown == []


def test_a_section_instead_of_nothing_is_one_difference() -> None:
    assert keys(SCENARIO, changed(workload__arrivals={"rate": 2.0})) == ["workload.arrivals"]


def test_parameters_of_a_topology_are_there_or_not_and_other_keys_of_another_version() -> None:
    more = changed(topology__set={"gpus": 2, "storage": 3})
    assert keys(SCENARIO, more) == ["topology.set.storage"]
    newer = changed(traffic={"mode": "direct"})
    assert differences([SCENARIO, newer]) == ([], ["traffic"])


def test_one_difference_is_what_is_compared() -> None:
    found = differences([SCENARIO, changed(arbitration="fifo")])
    assert [each.key for each in check(found, [])] == ["arbitration"]
    assert check(differences([SCENARIO, SCENARIO]), []) == []


def test_more_than_one_has_to_be_named() -> None:
    found = differences([SCENARIO, changed(arbitration="fifo", topology__name="2p4d")])
    with pytest.raises(UsageError, match=r"more than one thing.*2p4d.*fifo") as refused:
        check(found, [])
    assert "--varies topology.name --varies arbitration" in refused.value.hint
    with pytest.raises(UsageError, match="more than one thing"):
        check(found, ["arbitration"])
    assert len(check(found, ["arbitration", "topology"])) == 2


def test_another_scale_has_to_be_named_even_alone() -> None:
    found = differences([SCENARIO, changed(scale__rate=4000.0)])
    with pytest.raises(UsageError, match=r"different scales: scale\.rate \(2000 / 4000\)"):
        check(found, [])
    assert len(check(found, ["scale"])) == 1


def test_another_workload_cannot_be_compared_at_all() -> None:
    found = differences([SCENARIO, changed(plugin="other")])
    with pytest.raises(UsageError, match="different workloads"):
        check(found, ["plugin"])


def test_what_is_named_has_to_differ() -> None:
    found = differences([SCENARIO, changed(arbitration="fifo")])
    with pytest.raises(UsageError, match=r"do not differ in workload\.agents") as refused:
        check(found, ["arbitration", "workload.agents"])
    assert "arbitration (fair / fifo)" in refused.value.hint


def test_what_a_reader_should_know_is_said(tmp_path: Path) -> None:
    policies: dict[str, dict[str, Any]] = {"pe-only": {}}
    origin = {"versions": {"dualpath-testbed": "0.1.0"}, "kernel": {"release": "6.1"}}
    one = load(make_run(tmp_path / "1", policies, **origin, git={"commit": "aa", "dirty": True}))
    two = load(make_run(tmp_path / "2", policies, **origin, git={"commit": "bb", "dirty": False}))
    same = remarks({"A": [two], "B": [two]}, differences([SCENARIO, SCENARIO]))
    assert same == []
    found = remarks({"A": [one], "B": [two]}, differences([SCENARIO, changed(scale__rate=1.0)]))
    assert "NOT AT ONE SCALE" in found[0]
    assert found[1:] == [
        "different commits: A aa; B bb",
        "made from a checkout with changes that no commit has: A",
    ]
