from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.fidelity.processors import CpuTimes, cpu_times, read_cpu_times, spent

#              user nice sys idle iowait irq softirq steal guest
STAT = "cpu  100 10 200 3000 50 20 80 40 70 0\ncpu0 5 0 0 0 0 0 0 0\ncpu1 5 0 0 0 0 0 0 0\nbtime 1"


def test_times_are_of_all_processors_without_guests_which_user_holds_already() -> None:
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    times = cpu_times(STAT, 7.0)
    assert (times.at_s, times.processors) == (7.0, 2)
    assert times.idle == pytest.approx(3050 * tick_s)
    assert times.interrupts == pytest.approx(100 * tick_s)
    assert times.steal == pytest.approx(40 * tick_s)
    assert times.charged == pytest.approx(3500 * tick_s)


def test_a_stat_file_without_processors_is_refused() -> None:
    with pytest.raises(ValueError, match="cpu"):
        cpu_times("intr 1 2 3", 0.0)


def test_softirqs_of_an_idle_processor_are_charged_to_nobody_and_count() -> None:
    # Two processors, 1 s: 1.2 s idle, 0.3 s of programs, 0.1 s charged to softirqs; 0.4 s missing.
    found = spent(CpuTimes(5.0, 2, 0.0, 0.0, 0.0, 0.0), CpuTimes(6.0, 2, 1.2, 0.1, 0.0, 1.6))
    assert found.whole == 2.0
    assert found.busy == pytest.approx(0.8)
    assert found.softirq == pytest.approx(0.5)
    assert found.busy_share == pytest.approx(0.4)
    assert found.softirq_share == pytest.approx(0.25)


def test_idle_that_runs_backwards_does_not_make_a_machine_more_than_busy() -> None:
    found = spent(CpuTimes(5.0, 2, 3.0, 0.0, 0.0, 4.0), CpuTimes(5.1, 2, 2.99, 0.0, 0.0, 4.2))
    assert found.busy_share == 1.0


@given(*(st.floats(-0.1, 1.0) for _ in range(4)))
def test_shares_are_shares_however_ticks_fall(
    idle: float, interrupts: float, steal: float, other: float
) -> None:
    charged = idle + interrupts + steal + other
    found = spent(CpuTimes(0, 2, 0, 0, 0, 0), CpuTimes(0.5, 2, idle, interrupts, steal, charged))
    assert 0 <= found.softirq_share <= found.busy_share <= 1
    assert 0 <= found.steal_share <= found.busy_share


def test_this_machine_has_as_many_processors_as_its_kernel_lists() -> None:
    listed = Path("/sys/devices/system/cpu/online").read_text().strip().split(",")
    ends = [[int(n) for n in part.split("-")] for part in listed]
    assert read_cpu_times().processors == sum(each[-1] - each[0] + 1 for each in ends)
