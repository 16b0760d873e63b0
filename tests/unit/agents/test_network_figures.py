"""Figures of the window that are made of arrivals."""

from __future__ import annotations

import numpy as np
import pytest

from agents.network_figures import intervals, slowdowns
from agents.transfer_figures import TransferRow


def test_intervals_are_of_bits_and_turns_per_second() -> None:
    """1 MB/s, and four turns a second, for twenty seconds: nothing varies."""
    ends = np.arange(5.0, 25.0, 0.25) + 0.1
    found = intervals(lambda a, b: 1e6 * (b - a), ends, (5.0, 25.0))
    assert found["interval_kv_load_bps"] == [pytest.approx(8e6), pytest.approx(8e6)]
    assert found["interval_turns_per_s"] == [pytest.approx(4.0), pytest.approx(4.0)]


def test_a_load_that_varies_has_an_interval_around_its_mean() -> None:
    found = intervals(lambda a, b: 1e6 * (b - a) * (1 + int(a) % 4 // 2), np.array([]), (0.0, 20.0))
    low, high = found["interval_kv_load_bps"]
    assert low < 12e6 < high
    assert found["batch_correlation"]["kv_load"] < 0  # one up, one down


def test_slowdowns_are_of_transfers_that_ended_in_the_window() -> None:
    def row(ended_s: float, slowdown: float | None, kind: str = "h2d") -> TransferRow:
        return TransferRow(
            1, kind, "pe", "pe0", "pe0g0", 0, 1, 100, 0.0, ended_s,
            device="cnic0", lane="kv", queue_s=0.0, ideal_s=1.0, slowdown=slowdown,
        )  # fmt: skip

    rows = [row(0.9, 50.0), row(1.0, 2.0), row(1.9, 4.0), row(2.0, 50.0), row(1.5, None, "copy")]
    found = slowdowns(rows, (1.0, 2.0))
    assert found == {"h2d": {"p50": 3.0, "p99": pytest.approx(3.98), "mean": 3.0}}
