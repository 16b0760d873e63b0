from __future__ import annotations

import threading

import pytest

from testbed.fidelity import monitor
from testbed.fidelity.monitor import Monitor, Reading, between
from testbed.fidelity.processors import CpuTimes


def test_backlog_counters_are_hexadecimal_and_one_row_for_each_processor() -> None:
    assert monitor.softnet("0000ffff 0000000a 00000001\n00000001 00000010 00000002\n") == (26, 3)


def test_throttling_of_both_versions_of_cgroups() -> None:
    second = "usage_usec 9\nnr_throttled 4\nthrottled_usec 1500000"
    first = "nr_periods 0\nnr_throttled 3\nthrottled_time 250000000"
    assert monitor.throttled_s([second, first, "usage_usec 9"]) == 1.75


def test_a_sample_is_the_share_of_a_period() -> None:
    # Two processors, half a second.
    before = Reading(CpuTimes(10.0, 2, idle=6.0, interrupts=0.0, steal=0.0, charged=8.0), 3, 5, 1.0)
    now = Reading(CpuTimes(10.5, 2, idle=6.4, interrupts=0.15, steal=0.05, charged=9.0), 4, 9, 1.5)
    sample = between(before, before, now, 0.001)
    assert sample.t_s == 10.5
    assert sample.cpu_share == pytest.approx(0.6)
    assert sample.softirq_share == pytest.approx(0.15)
    assert sample.steal_share == pytest.approx(0.05)
    assert (sample.softnet_dropped, sample.softnet_squeezed) == (1, 4)
    assert sample.throttled_s == 0.5
    unreadable = between(
        before._replace(throttled_s=None), before, now._replace(throttled_s=None), 0.0
    )
    assert unreadable.throttled_s is None


def test_the_monitor_sees_this_machine() -> None:
    watching = Monitor()
    watching.start()
    threads = threading.active_count()
    samples = watching.stop()
    assert threading.active_count() == threads - 1
    assert samples
    assert [s.t_s for s in samples] == sorted(s.t_s for s in samples)
    for sample in samples:
        assert 0 <= sample.softirq_share <= sample.cpu_share <= 1
        assert sample.softnet_dropped >= 0


def test_an_error_of_the_thread_is_raised_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    watching = Monitor()
    monkeypatch.setattr(monitor, "PERIOD_S", 0.0)
    failed = threading.Event()

    def fail(_: Monitor, lag_s: float) -> None:
        failed.set()
        raise OSError("counters are gone")

    monkeypatch.setattr(Monitor, "_take", fail)
    watching.start()
    assert failed.wait(10)
    with pytest.raises(OSError, match="gone"):
        watching.stop()
