"""What a calibration concludes of what arrived and what the shapers counted."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from testbed.fidelity.calibration import (
    BUDGET_S,
    Calibration,
    ClassResult,
    Counted,
    FlowSeen,
    checks,
    problem,
    result_of,
    window_length_s,
)
from testbed.kernel.samples import LaneSample, MeterSample
from testbed.plan.model import Meter

LINE = 100_000_000
METER = Meter(
    "pe0/snic0", "snic", "pe0", "prefill", "in", "fabric", "pe0-snic0", LINE, 25_000,
    {"kv": 0x20, "unclassified": 0xF000},
)  # fmt: skip
GOOD = ClassResult(
    "snic", "prefill", "in", LINE, "pe0/snic0", 0.99 * LINE, 1.0, 0.97 * LINE, 1.02 * LINE, 1e-4
)


def sample(size: int) -> MeterSample:
    """A counter that has seen so much, in packets of 1000 bytes."""
    return MeterSample(
        0.0, "pe0/snic0", "snic", "pe0", "prefill", "in", LINE, size, size // 1000,
        0, 0, 0, 0, 0, 0, 0, {"kv": LaneSample(size, size // 1000, 0)},
    )  # fmt: skip


def measured(arrived_bps: float, counted_bps: float) -> ClassResult:
    """Of payload that arrived at a rate for 0.4 s, while the shaper counted at another."""
    total = int(arrived_bps / 8 * 0.4)
    edges = np.linspace(0, total, 5).tolist()
    counted = Counted(sample(7000), sample(7000 + int(counted_bps / 8 * 0.4)), total)
    return result_of(METER, [FlowSeen(0.1, [1e-4, 2e-4, 9.0], total, edges)], counted, 0.4)


def test_headers_are_put_on_what_arrived() -> None:
    found = measured(0.934 * LINE, LINE)
    assert found.reached_bps == pytest.approx(LINE, rel=1e-3)
    assert found.counted_share == pytest.approx(1.0, rel=1e-3)
    assert found.round_trip_s == 2e-4
    assert problem(found) == ""


def test_one_slice_without_traffic_does_not_decide() -> None:
    flow = FlowSeen(0.1, [1e-4], 3_480_000, [0.0, 1.16e6, 1.16e6, 2.32e6, 3.48e6])
    found = result_of(METER, [flow], Counted(sample(0), sample(3_726_000), 3_480_000), 0.4)
    assert problem(found) == ""


def test_an_aggregate_on_its_way_at_the_end_is_no_slow_link() -> None:
    """12.5 Mbit/s in packets of 64 KiB: one each 42 ms, nine or ten in a window of 0.4 s."""
    line = LINE // 8
    slow = msgspec.structs.replace(METER, rate_bps=line, burst_bytes=2 * 65_536)
    for packets, why in ((9, ""), (6, "slow")):
        total = packets * 65_536
        counted = Counted(sample(0), sample(int(total / 0.934)), total)
        edges = [0.0, *(65_536.0 * round(packets * part / 4) for part in range(1, 5))]
        assert problem(result_of(slow, [FlowSeen(0.1, [1e-4], total, edges)], counted, 0.4)) == why


@pytest.mark.parametrize(
    ("arrived", "counted", "why"),
    [(0.5, 0.535, "slow"), (1.2, 1.28, "faster than its line"), (0.93, 0.0, "bytes go past it")],
)
def test_slow_fast_and_bypassed_links_are_told_apart(
    arrived: float, counted: float, why: str
) -> None:
    assert why in problem(measured(arrived * LINE, counted * LINE))


def changed(**fields: object) -> ClassResult:
    return msgspec.structs.replace(GOOD, **fields)


def test_a_machine_that_is_too_slow_is_told_how_much_slower_its_links_must_be() -> None:
    slow = changed(reached_bps=0.5 * LINE)
    busy, _ = checks("v", Calibration([GOOD, slow], 1.0, 0.99))
    assert not busy.ok
    assert "pe0/snic0 in (100Mbit/s) reached 50.0%" in busy.reason
    assert "too slow for these links now" in busy.reason and "2 times slower" in busy.reason
    idle, _ = checks("v", Calibration([GOOD, slow], 1.0, 0.2))
    assert "it was not they" in idle.reason
    # One program at its limit is enough, however many processors have nothing to do.
    core, _ = checks("v", Calibration([msgspec.structs.replace(slow, loader_share=0.99)], 1.0, 0.1))
    assert "too slow for these links now" in core.reason


def test_management_has_to_be_capped_and_need_not_be_full() -> None:
    assert problem(changed(kind="mgmt", reached_bps=0.5 * LINE)) == ""
    assert problem(changed(kind="mgmt", reached_bps=2.0 * LINE)) != ""


def test_a_late_round_trip_and_nothing_measured_both_fail() -> None:
    _, late = checks("v", Calibration([changed(round_trip_s=0.01)], 1.0, 0.2))
    assert late.ok is False and "pe0/snic0 in" in late.reason
    rates, trips = checks("v", Calibration([], 0.1, 0.2))
    assert rates.ok is None and trips.ok is None


@pytest.mark.parametrize("rounds", range(1, 9))
def test_windows_keep_to_the_budget(rounds: int) -> None:
    assert 0.15 <= window_length_s(rounds, BUDGET_S) <= 0.4
    assert rounds * (window_length_s(rounds, BUDGET_S) + 0.1) <= BUDGET_S
