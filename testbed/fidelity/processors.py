"""What a machine's processors spend their time on, from /proc/stat, see proc_stat(5).

The kernel measures idle time exactly, and charges the rest by the clock tick.  The tick stands
still while a processor idles: interrupts of an idle processor, and the softirqs in which shapers
let packets go and bridges forward them, are then neither idle nor charged to anybody.  So the whole
is taken from the clock, what is not idle counts as busy, and what nobody was charged for is
softirqs'.  (Kernels with CONFIG_IRQ_TIME_ACCOUNTING charge it to them.)
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

_USER, _NICE, _SYSTEM, _IDLE, _IOWAIT, _IRQ, _SOFTIRQ, _STEAL = range(8)
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class CpuTimes(NamedTuple):
    """Seconds of all processors together since boot, at one moment.

    Args:
        at_s: the moment, time.monotonic().
        processors: online.
        idle: also when they wait for I/O.
        interrupts: charged to interrupts and softirqs.
        steal: taken by the hypervisor.
        charged: all that was charged to anything, idle included.
    """

    at_s: float
    processors: int
    idle: float
    interrupts: float
    steal: float
    charged: float


class CpuSpent(NamedTuple):
    """Seconds of all processors between two moments.

    Args:
        wall_s: between them.
        processors: there are.
        busy: in any way; interrupts, softirqs and steal are within it.
        softirq: in softirqs and interrupts, whatever they interrupted.  As the tick charges whole
            ticks, it may come out slightly below 0 in a fraction of a second; sums are right.
        steal: taken by the hypervisor.
    """

    wall_s: float
    processors: int
    busy: float
    softirq: float
    steal: float

    @property
    def whole(self) -> float:
        """Seconds that there were."""
        return self.wall_s * self.processors

    @property
    def busy_share(self) -> float:
        """Of the whole, 0 … 1."""
        return self.busy / self.whole

    @property
    def softirq_share(self) -> float:
        """Of the whole, and no more than is busy."""
        return min(self.busy, max(0.0, self.softirq)) / self.whole

    @property
    def steal_share(self) -> float:
        """Of the whole."""
        return min(self.busy, self.steal) / self.whole


def cpu_times(stat: str, at_s: float) -> CpuTimes:
    """The times in a text of /proc/stat that was read at a moment.

    Guest time is left out: it is within user and nice.
    """
    lines = [line.split() for line in stat.splitlines() if line.startswith("cpu")]
    ticks = next((values for name, *values in lines if name == "cpu"), None)
    if ticks is None:
        raise ValueError("/proc/stat has no line 'cpu'")
    seconds = [int(value) / _TICKS_PER_S for value in ticks[:8]]
    return CpuTimes(
        at_s,
        len(lines) - 1,
        seconds[_IDLE] + seconds[_IOWAIT],
        seconds[_IRQ] + seconds[_SOFTIRQ],
        seconds[_STEAL],
        sum(seconds),
    )


def read_cpu_times() -> CpuTimes:
    """The times now."""
    text = Path("/proc/stat").read_text()
    return cpu_times(text, time.monotonic())


def spent(before: CpuTimes, now: CpuTimes) -> CpuSpent:
    """What processors did between two moments."""
    wall_s = max(1e-9, now.at_s - before.at_s)
    whole = wall_s * now.processors
    # Idle and iowait may run backwards by a tick, and be ahead of the clock by one.
    idle = min(whole, max(0.0, now.idle - before.idle))
    uncharged = whole - (now.charged - before.charged)
    return CpuSpent(
        wall_s,
        now.processors,
        whole - idle,
        now.interrupts - before.interrupts + uncharged,
        max(0.0, now.steal - before.steal),
    )
