"""Counters as timelines: no byte is lost, whatever is taken together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.report.series import in_time, timeline, together, uses
from tests.unit.report.synthetic import LINE_BPS, PLAIN, SAMPLES, SERVING, STARTED_S, nics

STEP_S = 0.1


@given(most=st.integers(1, 2 * SAMPLES))
def test_rates_times_time_are_the_bytes_however_few_intervals_there_are(most: int) -> None:
    table = nics(policies=["x"])
    seen = timeline(table, "x", STARTED_S, most)
    assert all(len(one.times_s) <= most for one in seen.classes)
    for one in seen.classes:
        spent = np.diff(np.concatenate([[0.0], one.times_s]))
        carried = float((one.mean * spent).sum()) * LINE_BPS / 8
        share = next(s for *_, direction, s in SERVING if one.name == _name(*_, direction))
        assert carried == pytest.approx(share * LINE_BPS / 8 * one.times_s[-1], abs=8)


def _name(_nic: str, kind: str, _node: str, role: str, direction: str) -> str:
    return f"{role} {kind.upper()} {direction}"


@given(st.integers(2, 100_000), st.integers(1, 2000))
def test_so_many_are_taken_together_that_there_are_at_most_that_many(n: int, most: int) -> None:
    k = together(n, most)
    intervals = len(range(0, n, k)) - 1
    assert intervals <= most
    assert k == 1 or len(range(0, n, k - 1)) - 1 > most - 1


def test_a_class_that_is_never_used_is_idle_and_a_busy_one_is_not() -> None:
    idle = {one.name: one.idle for one in timeline(nics(), "pe-only", None).classes}
    assert idle["prefill SNIC out"]
    assert not idle["prefill SNIC in"]


def test_few_plain_links_are_told_one_by_one_and_many_together() -> None:
    # h1 -- s1 -- h2
    few = timeline(nics(PLAIN, ["x"]), "x", None).classes
    assert [one.name for one in few] == ["h1-eth0 out", "h1-eth0 in", "h2-eth0 out", "h2-eth0 in"]
    many = [(f"h{n}/eth", "link", f"h{n}", "host", "out", 0.1 * n) for n in range(10)]
    (all_hosts,) = timeline(nics(many, ["x"]), "x", None).classes
    assert (all_hosts.name, all_hosts.nics) == ("host link out", 10)
    assert all_hosts.least.max() == pytest.approx(0, abs=1e-6)
    assert all_hosts.most.min() == pytest.approx(0.9, abs=1e-3)


def test_a_variant_without_samples_has_no_timeline() -> None:
    assert timeline(nics(), "other", None).classes == []


@given(late=st.integers(1, 18), by_s=st.floats(0.05, 0.09))
def test_a_reading_that_came_late_is_passed_over_and_no_other(late: int, by_s: float) -> None:
    """Its bytes are of a later moment than it says: too much before it, too little after."""
    times = np.arange(20) * STEP_S
    counts = times * LINE_BPS / 8
    counts[late] += by_s * LINE_BPS / 8
    kept = in_time(times[None, :], counts[None, :], np.array([float(LINE_BPS)]))
    assert set(range(20)) - set(kept.tolist()) == {late}


@given(st.lists(st.floats(0, 1.2), min_size=2, max_size=30))
def test_lines_that_are_not_overfull_keep_every_reading(shares: list[float]) -> None:
    counts = np.concatenate([[0.0], np.cumsum(shares)]) * LINE_BPS / 8 * STEP_S
    times = np.arange(len(counts)) * STEP_S
    kept = in_time(times[None, :], counts[None, :], np.array([float(LINE_BPS)]))
    assert len(kept) == len(counts)


def test_use_in_a_window_is_interpolated_between_readings() -> None:
    # 0 % of the line for a second, then all of it
    table = nics((("a/x", "link", "a", "host", "out", 1.0),), ["x"])
    assert uses(table, "x", (STARTED_S + 1.03, STARTED_S + 2.07))[0].share == pytest.approx(1.0)
    assert uses(table, "x", None)[0].share == pytest.approx(1.0)
