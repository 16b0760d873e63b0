from __future__ import annotations

import msgspec
import pytest

from testbed.fidelity import machine_checks
from testbed.fidelity.monitor import MachineSample


def machine(count: int = 10, **fields: float) -> list[MachineSample]:
    idle = MachineSample(0.0, 0.3, 0.1, 0.0, 0, 0, 0.0, 0.5, 0.001)
    return [msgspec.structs.replace(idle, t_s=float(i), **fields) for i in range(count)]


def test_without_samples_nothing_passes() -> None:
    found = [
        machine_checks.machine("v", [], None),
        machine_checks.backlog("v", []),
        machine_checks.throttling("v", [], None),
        machine_checks.timers("v", [], None),
    ]
    assert [check.ok for check in found] == [None] * len(found)
    assert all(check.reason for check in found)


@pytest.mark.parametrize(("busy", "ok"), [(0.85, True), (0.86, False)])
def test_the_processors_are_judged_inside_the_window(busy: float, ok: bool) -> None:
    samples = machine(20, cpu_share=1.0)
    samples[5:15] = [msgspec.structs.replace(s, cpu_share=busy) for s in samples[5:15]]
    assert machine_checks.machine("v", samples, (5.0, 14.0)).ok is ok
    assert machine_checks.machine("v", samples, None).ok is False
    assert machine_checks.machine("v", samples, (90.0, 99.0)).ok is None


def test_a_packet_lost_in_a_backlog_fails() -> None:
    assert machine_checks.backlog("v", machine()).ok
    assert machine_checks.backlog("v", machine(softnet_dropped=1)).ok is False


def test_throttling_counts_inside_the_window() -> None:
    samples = [msgspec.structs.replace(s, throttled_s=max(0.0, s.t_s - 8)) for s in machine(11)]
    assert machine_checks.throttling("v", samples, (0.0, 8.0)).ok
    assert machine_checks.throttling("v", samples, (0.0, 10.0)).ok is False
    assert machine_checks.throttling("v", machine(throttled_s=None), None).ok is None  # type: ignore[arg-type]


def starved(stalled_s: float) -> list[MachineSample]:
    """Twenty seconds, of which the monitor did not come to its turn for so long, at the end."""
    free = int((20 - stalled_s) / 0.2)
    samples = [msgspec.structs.replace(s, t_s=0.2 * (i + 1)) for i, s in enumerate(machine(free))]
    late = msgspec.structs.replace(
        samples[-1], t_s=samples[-1].t_s + stalled_s, cpu_share=1.0, lag_s=stalled_s
    )
    return [*samples, late]


def test_the_time_in_which_the_monitor_was_starved_counts_by_its_length() -> None:
    assert machine_checks.machine("v", starved(14.0), None).ok, "0.3 · 6 s and 1 · 14 s are 79 %"
    found = machine_checks.machine("v", starved(16.0), None)
    assert found.ok is False and found.measured.startswith("86%")
    # Even if its end is outside the window.
    assert machine_checks.machine("v", starved(16.0), (1.0, 19.0)).ok is False
    assert machine_checks.timers("v", starved(0.4), None).ok is False


def test_late_timers_fail() -> None:
    assert machine_checks.timers("v", machine(lag_s=0.02), None).ok
    assert machine_checks.timers("v", machine(lag_s=0.2), None).ok is False
