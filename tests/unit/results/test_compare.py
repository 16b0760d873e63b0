from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from testbed.errors import NotFoundError, UnfaithfulError, UsageError
from testbed.results import layout
from testbed.results.compare import chosen, compare
from testbed.results.writer import write_json
from tests.unit.results.made import SCENARIO, make_run, make_set

BOTH = ("pe-only", "shorter-queue")
FIFO = {**SCENARIO, "arbitration": "fifo"}


def figures(load: float, policies: tuple[str, ...] = BOTH) -> dict[str, dict[str, Any]]:
    loads = {"pe-only": load, "shorter-queue": 2 * load}
    return {
        name: {"load_bps": loads[name], "ttft_s": {"p50": 1.0, "p99": 2.0, "mean": 1.0}}
        for name in policies
    }


def six(factor: float = 1.0) -> Mapping[int, dict[str, dict[str, Any]]]:
    return {seed: figures(factor * (10 + seed)) for seed in range(1, 7)}


def test_the_policies_of_a_set_are_compared_with_its_first(tmp_path: Path) -> None:
    found = compare([make_set(tmp_path / "set", six())])
    assert [(each.label, each.against) for each in found.contestants] == [
        ("pe-only", None), ("shorter-queue", "pe-only"),
    ]  # fmt: skip
    change = found.metrics["load_bps"]["shorter-queue"].change
    assert change is not None and change.ratio is not None
    assert change.ratio.value == 2.0
    assert change.paired and change.significant()
    assert found.metrics["load_bps"]["pe-only"].change is None


def test_a_policy_is_compared_with_itself_in_the_first_set(tmp_path: Path) -> None:
    fair = make_set(tmp_path / "fair", six())
    fifo = make_set(tmp_path / "fifo", six(0.5), scenario=FIFO)
    found = compare([fair, fifo])
    assert [side.tag for side in found.sides] == ["arbitration=fair", "arbitration=fifo"]
    assert {each.label: each.against for each in found.contestants} == {
        "arbitration=fair pe-only": None,
        "arbitration=fair shorter-queue": "arbitration=fair pe-only",
        "arbitration=fifo pe-only": "arbitration=fair pe-only",
        "arbitration=fifo shorter-queue": "arbitration=fair shorter-queue",
    }
    change = found.metrics["load_bps"]["arbitration=fifo shorter-queue"].change
    assert change is not None and change.ratio is not None and change.ratio.value == 0.5


def test_a_policy_that_the_first_run_has_not_is_compared_with_its_first(tmp_path: Path) -> None:
    one = make_run(tmp_path / "1", figures(1.0, ("pe-only",)))
    two = make_run(tmp_path / "2", figures(3.0, ("shorter-queue",)), seed=2)
    found = compare([one, two])
    assert {each.label: each.against for each in found.contestants} == {
        "A pe-only": None, "B shorter-queue": "A pe-only",
    }  # fmt: skip
    change = found.metrics["load_bps"]["B shorter-queue"].change
    assert change is not None and change.ratio is not None
    assert (change.ratio.value, change.p_value, change.paired) == (6.0, None, False)


def test_runs_that_may_not_be_believed_are_refused_or_named(tmp_path: Path) -> None:
    bad = make_run(tmp_path / "bad", figures(1.0), ok=False)
    good = make_run(tmp_path / "good", figures(1.0), seed=2)
    with pytest.raises(UnfaithfulError, match=r"1 of the runs has the verdict FAIL.*bad"):
        compare([good, bad])
    found = compare([good, bad], accept_unfaithful=True)
    assert found.unfaithful == {"B": [bad]}
    told = found.as_json()
    assert told["unfaithful"] == [str(bad)]
    assert (told["sides"]["A"]["verdict"], told["sides"]["B"]["verdict"]) == ("PASS", "FAIL")


def test_the_object_for_programs_is_json_with_every_figure(tmp_path: Path) -> None:
    fair = make_set(tmp_path / "fair", six(), asked=7)
    fifo = make_set(tmp_path / "fifo", six(0.5), scenario=FIFO)
    told = json.loads(json.dumps(compare([fair, fifo]).as_json(), allow_nan=False))
    assert told["varied"] == {
        "arbitration": {"arbitration=fair": "fair", "arbitration=fifo": "fifo"}
    }
    assert told["remarks"] == ["arbitration=fair: 6 of 7 runs are complete"]
    cell = told["metrics"]["load_bps"]["arbitration=fifo pe-only"]
    assert cell["value"] == 6.75 and cell["count"] == 6 and cell["confidence"] == 0.95
    assert cell["low"] < 6.75 < cell["high"]
    assert cell["ratio"]["value"] == 0.5
    assert cell["significant"] is True and cell["paired"] is True
    assert set(told["metrics"]) == {"load_bps", "ttft_s.p50", "ttft_s.p99", "ttft_s.mean"}


def test_metrics_are_chosen_by_name_or_by_the_beginning_of_it(tmp_path: Path) -> None:
    found = compare([make_run(tmp_path / "run", figures(1.0))])
    assert chosen(found, ()) == ["load_bps", "ttft_s.p50", "ttft_s.p99"]
    assert chosen(found, ("ttft_s",)) == ["ttft_s.p50", "ttft_s.p99", "ttft_s.mean"]
    assert chosen(found, ("ttft_s.mean", "load_bps")) == ["ttft_s.mean", "load_bps"]
    with pytest.raises(NotFoundError, match="'ttft'") as refused:
        chosen(found, ("ttft",))
    assert "load_bps, ttft_s" in refused.value.hint


def test_what_is_no_two_runs_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", figures(1.0))
    with pytest.raises(UsageError, match="given twice"):
        compare([run, tmp_path / "." / "run"])
    sweep = tmp_path / "sweep"
    make_set(sweep / "point", {1: figures(1.0)})
    write_json(sweep / layout.SWEEP, {})
    with pytest.raises(UsageError, match="is a sweep") as refused:
        compare([sweep, run])
    assert "point" in refused.value.hint
