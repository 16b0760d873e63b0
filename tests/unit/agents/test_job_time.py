"""Job times: equivalents by the rate of turns, whole trajectories by their ends; what is served."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from agents.job_time import (
    EVERY,
    computed_turns_per_s,
    read_turns_per_s,
    steady_turns_per_s,
    turns_per_s,
    whole_jobs,
)
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
