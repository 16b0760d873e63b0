"""Job times: equivalents by the rate of turns, whole trajectories by their ends; what is served."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from agents.job_time import EVERY, steady_turns_per_s, whole_jobs
from agents.online import PARTS, Point, served
from agents.settings import DualPathScenario
from testbed.experiment import record
from testbed.experiment.estimates import exactly
from testbed.experiment.scenario import load_scenario
from testbed.fidelity.verdict import Verdict
from testbed.results import layout
from testbed.results.load import RunData


def point(aps: float, ttft_s: float, tpot_s: float = 0.01) -> Point:
    found = [exactly(each) for each in (aps, ttft_s, ttft_s, tpot_s, 100.0)]
    return Point(*found, dict.fromkeys(PARTS, 1.0))


def test_what_is_served_within_an_slo_lies_between_loads() -> None:
    loads = [point(0.1, 1.0), point(0.2, 2.0), point(0.3, 6.0)]
    assert served(loads, 4.0, 0.05) == pytest.approx(0.25)
    assert served(loads[:2], 4.0, 0.05) == 0.2  # more may be possible
    assert served(loads, 0.5, 0.05) is None
    at_tpot = served([point(0.1, 1.0), point(0.2, 1.0, 0.075)], 4.0, 0.05)
    assert at_tpot == pytest.approx(0.16)
    assert served([Point(None, None, None, None, None, {})], 4.0, 0.05) is None


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


def turns_every_second(directory: Path, bound_by: str) -> RunData:
    """A minute in which a turn ends each second: 100 bytes of hits are read, 5 tokens computed."""
    seconds = [float(second) for second in range(60)]
    policy = ["made"] * len(seconds)
    requests = {
        "policy": policy, "request": list(range(60)), "error": [""] * 60,
        "prompt_tokens": [105] * 60, "hit_tokens": [100] * 60,
        "t_prefill_start": seconds, "t_first_token": [at + 1 for at in seconds],
        "t_done": [at + 0.5 for at in seconds],
    }  # fmt: skip
    transfers = {
        "policy": policy, "kind": ["storage_read"] * 60, "request": list(range(60)),
        "size_bytes": [100] * 60, "t_first_byte": seconds,
        "t_last_byte": [at + 1 for at in seconds],
    }  # fmt: skip
    for name, table in (("requests", requests), ("transfers", transfers)):
        pl.DataFrame(table).write_parquet(layout.table_path(directory, name))
    summary = {"window_s": [0.0, 60.0], "bound_by": bound_by}
    run = {
        "policies": {"made": {"summary": summary}},
        "predicted": {"mean_turn": {"hit_bytes": 200.0, "miss_tokens": 20.0}},
    }
    return RunData(directory, run, Verdict("PASS", [], []))


@pytest.mark.parametrize(
    ("bound_by", "per_s"),
    [
        ("storage", 0.5),  # by bytes: the mean turn would have read twice as many
        ("compute", 0.25),  # by tokens: it would have appended four times as many
        ("load", 1.0),  # by their ends
    ],
)
def test_turns_are_counted_by_the_work_of_what_binds(
    tmp_path: Path, bound_by: str, per_s: float
) -> None:
    found = steady_turns_per_s(turns_every_second(tmp_path, bound_by), "made")
    assert found is not None
    assert found.value == pytest.approx(per_s)
    assert found.low == pytest.approx(per_s) == found.high
