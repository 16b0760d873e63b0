"""The machine under a run: its processors, packet backlogs and timers, five times a second.

A result is the network's only as long as the machine was not the bottleneck.  Everything is read
from /proc and the cgroup file system, by a thread, so that it needs no privilege.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import psutil

from testbed.fidelity.processors import CpuTimes, read_cpu_times, spent
from testbed.kernel import cgroups

PERIOD_S = 0.2
_DROPPED, _SQUEEZED = 1, 2  # columns of /proc/net/softnet_stat


class MachineSample(msgspec.Struct, frozen=True):
    """The machine over one period.

    Args:
        t_s: end of the period, time.monotonic().
        cpu_share: of all processors' time, busy: user, system, interrupts and steal; 0..1.
        softirq_share: of all processors' time, in softirqs, where forwarding is done.
        steal_share: of all processors' time, taken by the hypervisor.
        softnet_dropped: packets that found a processor's backlog full, since the monitor began.
        softnet_squeezed: times that softirq gave up with work left, since the monitor began.
        throttled_s: time that cgroups stopped this process, since the monitor began; None where
            the cgroup file system cannot be read.
        load1: load average over a minute.
        lag_s: how late this thread's own timer was.
        available_bytes: memory that programs could still take, MemAvailable of proc_meminfo(5).
    """

    t_s: float
    cpu_share: float
    softirq_share: float
    steal_share: float
    softnet_dropped: int
    softnet_squeezed: int
    throttled_s: float | None
    load1: float
    lag_s: float
    available_bytes: int = 0


class Weighed(NamedTuple):
    """A sample, and how many seconds of its period are inside a window."""

    sample: MachineSample
    seconds: float


def weighed(samples: Sequence[MachineSample], window: tuple[float, float] | None) -> list[Weighed]:
    """The samples whose periods reach into a window; of all of the run if it is None.

    On a busy machine the monitor comes late: then few samples stand for much of the time, and it
    is those that matter.  So whoever takes a mean weighs them by their seconds.
    """
    found = []
    began_s = samples[0].t_s - PERIOD_S if samples else 0.0
    for sample in samples:
        opened_s, closed_s = window or (began_s, sample.t_s)
        seconds = min(sample.t_s, closed_s) - max(began_s, opened_s)
        if seconds > 0:
            found.append(Weighed(sample, seconds))
        began_s = sample.t_s
    return found


class Reading(NamedTuple):
    """The kernel's counters at one moment, since boot."""

    cpu: CpuTimes
    dropped: int
    squeezed: int
    throttled_s: float | None


def softnet(text: str) -> tuple[int, int]:
    """Drops and time squeezes of all processors, from /proc/net/softnet_stat.

    The counters are the processors', not those of a network namespace.
    """
    rows = [line.split() for line in text.splitlines()]
    return (
        sum(int(row[_DROPPED], 16) for row in rows),
        sum(int(row[_SQUEEZED], 16) for row in rows),
    )


def throttled_s(stats: Sequence[str]) -> float:
    """Time stopped by a CPU quota, summed over the `cpu.stat` of a cgroup and those above it.

    A cgroup that can have no quota has no such field: it never stops anybody.
    """
    total = 0.0
    for text in stats:
        for line in text.splitlines():
            name, _, value = line.partition(" ")
            if name == "throttled_usec":  # cgroup v2
                total += int(value) / 1e6
            elif name == "throttled_time":  # cgroup v1
                total += int(value) / 1e9
    return total


def between(before: Reading, first: Reading, now: Reading, lag_s: float) -> MachineSample:
    """A sample from two readings.

    Args:
        before, now: readings at the period's ends.
        first: the monitor's first, which totals count from.
        lag_s: how late the timer was.
    """
    cpu = spent(before.cpu, now.cpu)
    stopped = (
        None
        if now.throttled_s is None or first.throttled_s is None
        else now.throttled_s - first.throttled_s
    )
    return MachineSample(
        t_s=now.cpu.at_s,
        cpu_share=cpu.busy_share,
        softirq_share=cpu.softirq_share,
        steal_share=cpu.steal_share,
        softnet_dropped=now.dropped - first.dropped,
        softnet_squeezed=now.squeezed - first.squeezed,
        throttled_s=stopped,
        load1=os.getloadavg()[0],
        lag_s=lag_s,
        available_bytes=psutil.virtual_memory().available,
    )


class Monitor:
    """Samples the machine from `start` to `stop`.

    An error in its thread is raised by `stop`: samples never end silently.
    """

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._samples: list[MachineSample] = []
        places = cgroups.mine("cpu")
        # A cgroup that can have no quota may have no such file.
        self._stats = (
            None
            if places is None
            else [stat for place in places if (stat := place / "cpu.stat").is_file()]
        )
        self._thread = threading.Thread(target=self._work, name="monitor", daemon=True)
        self._first = self._before = self._read()

    def start(self) -> None:
        """Begin; totals count from here."""
        self._first = self._before = self._read()
        self._thread.start()

    def stop(self) -> list[MachineSample]:
        """End, with one last sample; all samples in order.

        Raises:
            OSError: the kernel's counters could not be read on the way.
        """
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error
        self._take(0.0)
        return self._samples

    def _work(self) -> None:
        due_s = time.monotonic()
        try:
            while True:
                due_s += PERIOD_S
                if self._stop.wait(max(0.0, due_s - time.monotonic())):
                    return
                lag_s = max(0.0, time.monotonic() - due_s)
                self._take(lag_s)
                # After a long stop, carry on from now: a burst of samples would say nothing.
                due_s = max(due_s, time.monotonic() - PERIOD_S)
        except BaseException as error:
            self._error = error

    def _read(self) -> Reading:
        dropped, squeezed = softnet(Path("/proc/net/softnet_stat").read_text())
        stopped = (
            None if self._stats is None else throttled_s([path.read_text() for path in self._stats])
        )
        return Reading(read_cpu_times(), dropped, squeezed, stopped)

    def _take(self, lag_s: float) -> None:
        now = self._read()
        self._samples.append(between(self._before, self._first, now, lag_s))
        self._before = now
