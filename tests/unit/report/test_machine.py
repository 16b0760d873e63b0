"""The machine and the lateness of timers, as figures show them."""

from __future__ import annotations

import polars as pl

from testbed.report.machine import latest, load_of
from testbed.report.presentation import Lateness
from tests.unit.report import synthetic

HOW = Lateness("Lateness", check="lag")


def test_of_all_timers_in_an_interval_the_latest_is_told() -> None:
    rows = synthetic.loop_lags(["a"])
    found = latest(rows, "a", HOW, synthetic.STARTED_S)
    assert found is not None
    assert len(found.times_s) == synthetic.SAMPLES  # two readings of 50 ms in 100 ms
    assert set(found.late_s) == {0.003} and set(found.who) == {"de0"}


def test_a_long_run_has_no_more_intervals_than_are_drawn_and_keeps_its_worst() -> None:
    rows = pl.DataFrame(
        {
            "policy": "a",
            "process": "x",
            "t_s": [0.05 * step for step in range(10_000)],
            "lag_s": [0.5 if step == 7_777 else 0.0 for step in range(10_000)],
        }
    )
    found = latest(rows, "a", HOW, 0.0, most=100)
    assert found is not None
    assert len(found.times_s) <= 101
    assert found.late_s.max() == 0.5


def test_what_was_not_recorded_is_not_there() -> None:
    assert latest(None, "a", HOW, 0.0) is None
    assert latest(pl.DataFrame({"policy": ["a"]}), "a", HOW, 0.0) is None
    assert latest(synthetic.loop_lags(["a"]), "b", HOW, 0.0) is None
    assert load_of(None, "a", 0.0) is None
    assert load_of(synthetic.machine(["a"]), "b", 0.0) is None


def test_the_machines_load_is_in_seconds_since_the_start() -> None:
    found = load_of(synthetic.machine(["a"]), "a", synthetic.STARTED_S)
    assert found is not None
    assert (found.times_s[0], found.cpu_share[0]) == (0.0, 0.4)
