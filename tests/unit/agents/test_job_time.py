"""Job times: equivalents by the rate of turns, whole trajectories by their ends; what is served."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from agents import online
from agents.job_time import (
    DS_27B,
    EVERY,
    computed_turns_per_s,
    read_turns_per_s,
    steady_turns_per_s,
    turns_per_s,
    whole_jobs,
)
from agents.online import PARTS, POLICIES, RATES, Point, loads, served
from agents.settings import DualPathScenario
from testbed.experiment import record
from testbed.experiment.asking import Asking, Runs
from testbed.experiment.estimates import exactly
from testbed.experiment.scenario import load_scenario
from testbed.experiment.study import Size
from testbed.fidelity.verdict import Verdict
from testbed.results import layout
from testbed.results.intervals import Interval
from testbed.results.load import RunData


def point(aps: float, ttft_s: float, tpot_s: float = 0.01) -> Point:
    found = [exactly(each) for each in (aps, ttft_s, ttft_s, tpot_s, 100.0)]
    return Point(*found, dict.fromkeys(PARTS, 1.0))


def aps(loads: Sequence[Point], ttft_s: float = 4.0) -> float | None:
    found = served(loads, ttft_s, 0.05)
    return None if found is None else found.value


def test_what_is_served_within_an_slo_lies_between_loads() -> None:
    loads = [point(0.1, 1.0), point(0.2, 2.0), point(0.3, 6.0)]
    assert aps(loads) == pytest.approx(0.25)
    assert aps(loads[:2]) == 0.2  # more may be possible
    assert aps(loads, 0.5) is None
    assert aps([point(0.1, 1.0), point(0.2, 1.0, 0.075)]) == pytest.approx(0.16)
    assert aps([Point(None, None, None, None, None, {})]) is None


def around(value: float, share: float, confidence: float = 0.95) -> Interval:
    return Interval(value, value * (1 - share), value * (1 + share), confidence, 60)


def spread(aps: float, ttft_s: float, share: float) -> Point:
    return point(aps, ttft_s)._replace(ttft_s=around(ttft_s, share, 0.9), aps=around(aps, 0.01))


def test_what_is_served_is_as_sure_as_the_loads_are() -> None:
    loads = [spread(0.1, 1.0, 0.1), spread(0.2, 2.0, 0.1), spread(0.3, 6.0, 0.1)]
    found, exact = served(loads, 4.0, 0.05), served([point(0.1, 1.0), point(0.3, 6.0)], 4.0, 0.05)
    assert found is not None and found.low is not None and found.high is not None
    assert found.value == pytest.approx(0.25)
    assert found.low < found.value < found.high
    assert found.confidence == 0.9
    assert exact is not None and exact.width is None
    # The lowest load may miss the SLO: nothing says how little is served then.
    vague = served([spread(0.1, 3.9, 0.1), spread(0.2, 9.0, 0.1)], 4.0, 0.05)
    assert vague is not None and vague.low is None and vague.width is None


def test_the_interval_of_what_is_served_holds_the_truth_at_least_as_often_as_it_says() -> None:
    """TTFT grows from 2 s to 6 s between 0.2 and 0.3 APS; each is seen with an error of 5 %."""
    rng = np.random.default_rng(4)
    held = []
    for _ in range(400):
        seen = rng.normal([2.0, 6.0], [0.1, 0.3])
        loads = [
            point(at, ttft_s)._replace(ttft_s=Interval(ttft_s, ttft_s - reach, ttft_s + reach,
                                                       0.95, 60))
            for at, ttft_s, reach in zip((0.2, 0.3), seen.tolist(), (0.196, 0.588), strict=True)
        ]  # fmt: skip
        found = served(loads, 4.0, 0.05)
        held.append(found is not None and found.holds(0.25))
    assert np.mean(held) > 0.93


@pytest.mark.parametrize("model", RATES)
@pytest.mark.parametrize("size", ["medium", "full"])
def test_loads_go_from_what_all_can_serve_to_what_misses_the_slo_at_once(
    model: str, size: Size
) -> None:
    """By prediction: a run of hours in which no load was too high would find no knee."""
    rates = RATES[model][size]
    assert rates == sorted(rates)
    asked = loads(Asking("any", size, Runs(Path("nowhere"), [], lambda _: None)), model)
    assert len(asked) == len(rates)
    lowest, highest = (_foreseen(model, asked[end]) for end in (0, -1))
    basic, dual = (highest["policies"][policy]["turns_per_s"] for policy in POLICIES)
    assert lowest["agents"] / lowest["service_s"] < 0.6 * basic
    slo_s = 4.0 * highest["scale"]["stretch"]
    assert highest["agents"] / dual - highest["service_s"] > slo_s


@pytest.mark.parametrize(("size", "kept"), [("quick", 3), ("medium", 2), ("full", 2)])
def test_the_load_that_nobody_can_serve_is_no_load_to_compare_at(
    size: Size, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [point(each, each) for each in (0.1, 0.2, 0.9)]
    monkeypatch.setattr(online, "points", lambda ask: dict.fromkeys(POLICIES, found))
    ask = Asking("any", size, Runs(Path("nowhere"), [], lambda _: None))
    assert online.sustained(ask) == dict.fromkeys(POLICIES, found[:kept])


def _foreseen(model: str, changes: dict[str, object]) -> Any:
    changes = {**(DS_27B if model == "ds-27b" else {}), **changes}
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in changes.items()}
    return record.predict(record.load("2p4d-small", texts)).prediction


@pytest.mark.parametrize("size", ["medium", "full"])
def test_whole_jobs_make_a_scenario_that_is_right(size: str) -> None:
    changes = whole_jobs(size)  # type: ignore[arg-type]
    overrides = {key: str(value).replace("'", '"') for key, value in changes.items()}
    scenario = record.load("2p4d-small", overrides).scenario
    assert isinstance(scenario, DualPathScenario)
    assert scenario.workload.sessions == "one" and scenario.workload.every == EVERY[size]  # type: ignore[index]
    assert not whole_jobs("quick")


@pytest.mark.parametrize(
    "workload",
    [
        "{every: 2}",
        "{every: 2, start: cold}",
        "{enter: steady, start: cold}",
        "{enter: steady, arrivals: {rate: 1/s}}",
        "{sessions: one, arrivals: {rate: 1/s}}",
    ],
)
def test_what_does_not_go_together_is_refused(workload: str) -> None:
    text = f"name: made\ntopology: {{name: 1p1d}}\nduration: 10s\nworkload: {workload}\n"
    with pytest.raises(Exception, match=r"every|enter|sessions"):
        load_scenario(text, DualPathScenario)


SECONDS = np.arange(60.0)


def turns(directory: Path, at_s: Sequence[float] = (), kind: str = "storage_read") -> RunData:
    """A minute of turns: of each second 100 bytes of hits are read, and 5 tokens computed.

    Args:
        at_s: when they end; default one in each second.
        kind: of the transfers.
    """
    ends = list(at_s) or [at + 0.5 for at in SECONDS.tolist()]
    policy = ["made"] * 60
    requests = {
        "policy": policy, "request": range(60), "error": [""] * 60,
        "prompt_tokens": [105] * 60, "hit_tokens": [100] * 60,
        "t_prefill_start": SECONDS, "t_first_token": SECONDS + 1, "t_done": ends,
    }  # fmt: skip
    transfers = {
        "policy": policy, "kind": [kind] * 60, "request": range(60), "size_bytes": [100] * 60,
        "t_first_byte": SECONDS, "t_last_byte": SECONDS + 1,
    }  # fmt: skip
    for name, table in (("requests", requests), ("transfers", transfers)):
        pl.DataFrame(table).write_parquet(layout.table_path(directory, name))
    run = {
        "policies": {"made": {"summary": {"window_s": [0.0, 60.0]}}},
        "predicted": {"mean_turn": {"hit_bytes": 200.0, "miss_tokens": 20.0}},
    }
    return RunData(directory, run, Verdict("PASS", [], []))


def test_turns_are_told_by_their_ends_by_what_they_read_or_by_what_was_computed(
    tmp_path: Path,
) -> None:
    run = turns(tmp_path)
    by = [turns_per_s, read_turns_per_s, computed_turns_per_s]
    found = [rate.value for each in by if (rate := each(run, "made")) is not None]
    # The mean turn would read twice as many bytes, and append four times as many tokens.
    assert found == pytest.approx([1.0, 0.5, 0.25])


def test_of_the_three_the_surest_counts(tmp_path: Path) -> None:
    # Turns end in bunches, and their work is even.
    run = turns(tmp_path, [at // 7 * 7 for at in SECONDS.tolist()])
    found = steady_turns_per_s(run, "made")
    assert found is not None and found.value == pytest.approx(0.25)
    assert found.width == pytest.approx(0.0, abs=1e-9)


def test_what_came_from_caches_was_not_read_from_storage(tmp_path: Path) -> None:
    run = turns(tmp_path, [at // 7 * 7 for at in SECONDS.tolist()], kind="peer_read")
    assert read_turns_per_s(run, "made") is None
    found = steady_turns_per_s(run, "made")
    assert found is not None and found.value == pytest.approx(0.25)
