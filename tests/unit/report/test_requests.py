"""Where requests spend their time: parts always add up, and what matters is never thinned away."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.presentation import REQUESTS
from testbed.report.requests import (
    MOST_POINTS,
    answered,
    choose,
    over_time,
    parts,
    rows_of,
    splits,
)
from tests.unit.report.synthetic import STARTED_S, WINDOW_S, requests

MOMENTS = [phase.until for phase in REQUESTS.phases]


def _rows() -> pl.DataFrame:
    return rows_of(requests(), "pe-only", REQUESTS)


@given(
    moments=st.lists(st.one_of(st.just(0.0), st.floats(90, 110)), min_size=9, max_size=9),
    stall_s=st.floats(0, 30),
)
def test_parts_add_up_to_the_last_moment_and_none_is_negative(
    moments: list[float], stall_s: float
) -> None:
    """Moments that did not come, or that came before others, included."""
    row = {"t_submit": 100.0, "stall_s": stall_s, **dict(zip(MOMENTS, moments, strict=True))}
    found = parts(row, REQUESTS)
    assert all(part.seconds >= 0 for part in found)
    assert sum(part.seconds for part in found) == pytest.approx(max(100.0, *moments) - 100.0)


def test_what_took_a_part_of_a_phase_is_told_apart() -> None:
    row = _rows().row(9, named=True)  # its unit is 10 ms
    told = {part.name: part.seconds for part in parts(row, REQUESTS)}
    assert told["transfer"] == pytest.approx(0.03)
    assert told["prefill"] == pytest.approx(0.07 - 0.03)
    assert told["read queue"] == pytest.approx(0.02)


def test_the_split_is_of_requests_answered_in_the_window_and_adds_up_to_their_mean() -> None:
    waits = answered(_rows(), REQUESTS, WINDOW_S)
    assert waits["t_first_token"].is_between(*WINDOW_S).all()
    assert (waits["error"] == "").all()
    everyone, slow = splits(waits, REQUESTS)
    assert everyone.seconds == pytest.approx(waits["wait_s"].mean())
    assert slow.requests == round(0.1 * len(waits))
    assert slow.seconds > everyone.seconds
    assert [part.name for part in everyone.parts][-2:] == ["transfer", "prefill"]


def test_median_p99_slowest_failed_and_retried_are_chosen() -> None:
    rows = _rows()
    chosen = choose(rows, answered(rows, REQUESTS, None), REQUESTS)
    assert [one.why for one in chosen] == ["median", "p99, slowest", "failed", "retried"]
    assert chosen[1].row["request"] == 39
    assert chosen[2].row["request"] == 3
    assert chosen[3].row["request"] == 5


def test_no_request_is_no_split_and_nothing_to_choose() -> None:
    none = _rows().clear()
    waits = answered(none, REQUESTS, None)
    assert splits(waits, REQUESTS) == []
    assert choose(none, waits, REQUESTS) == []


def test_a_table_without_the_columns_has_no_requests() -> None:
    assert rows_of(pl.DataFrame({"policy": ["x"]}), "x", REQUESTS).is_empty()


def test_thinning_keeps_what_failed_and_what_was_slow() -> None:
    count = 3 * MOST_POINTS
    rows = rows_of(requests(["x"], count), "x", REQUESTS)
    points, total = over_time(rows, REQUESTS)
    assert total == count
    assert len(points) <= MOST_POINTS + count / 100 + 1
    assert points["failed"].sum() == 1
    slowest = rows.with_columns(w=pl.col("t_first_token") - STARTED_S)["t_first_token"].max()
    assert (points["began_s"] + points["wait_s"]).max() == pytest.approx(slowest)
    assert (points["wait_s"] >= 0.016 * count * 0.99).sum() == pytest.approx(count / 100, abs=2)


def test_few_requests_are_all_drawn() -> None:
    points, total = over_time(_rows(), REQUESTS)
    assert len(points) == total == 40
