"""What must hold of the machine that carries a run: nothing but its links may be the bottleneck."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from testbed.fidelity.checks import Check, unmeasured
from testbed.fidelity.monitor import MachineSample, weighed
from testbed.units import show_duration

CPU_SHARE = 0.85
THROTTLED_SHARE = 0.01
LAG_S = 0.05  # half the step of the counters
MACHINE, TIMERS = "machine CPU", "timer lag"  # names of checks whose bounds are drawn


def machine(
    variant: str,
    samples: Sequence[MachineSample],
    window: tuple[float, float] | None,
    *,
    cpu_bound: float = CPU_SHARE,
) -> Check:
    """The processors were not the bottleneck: busy share within the window (or the run)."""
    name, bound = MACHINE, f"≤ {cpu_bound:.0%} of all cores"
    seen = weighed(samples, window)
    if not seen:
        return unmeasured(name, variant, bound, "the machine was not watched in the window")
    busy, soft, steal = (
        float(np.average([getattr(s, field) for s, _ in seen], weights=[w for _, w in seen]))
        for field in ("cpu_share", "softirq_share", "steal_share")
    )
    return Check(
        name, variant, busy <= cpu_bound,
        f"{busy:.0%} (softirq {soft:.0%}, steal {steal:.0%}), "
        f"load {samples[0].load1:.1f} at the start",
        bound,
        "" if busy <= cpu_bound else "stop what else runs here, or choose a larger scale.rate",
        limits={"cpu_share": cpu_bound},
    )  # fmt: skip


def backlog(variant: str, samples: Sequence[MachineSample]) -> Check:
    """No processor's packet backlog overflowed: such a drop shows in no NIC's counter."""
    name, bound = "no packet lost by the machine", "0 packets"
    if not samples:
        return unmeasured(name, variant, bound, "the machine was not watched")
    last = samples[-1]
    return Check(
        name, variant, last.softnet_dropped == 0,
        f"{last.softnet_dropped} packets, {last.softnet_squeezed} squeezes", bound,
        "" if last.softnet_dropped == 0
        else "a backlog was full: raise net.core.netdev_max_backlog, or choose a larger scale.rate",
    )  # fmt: skip


def throttling(
    variant: str, samples: Sequence[MachineSample], window: tuple[float, float] | None
) -> Check:
    """No CPU quota stopped the run."""
    name, bound = "not throttled", f"≤ {THROTTLED_SHARE:.0%} of the time"
    seen = [sample for sample, _ in weighed(samples, window)]
    if len(seen) < 2:
        return unmeasured(name, variant, bound, "the machine was not watched in the window")
    first, last = seen[0].throttled_s, seen[-1].throttled_s
    if first is None or last is None:
        return unmeasured(
            name, variant, bound,
            "no cgroup file system is mounted to read quotas from: mount /sys/fs/cgroup",
        )  # fmt: skip
    share = (last - first) / (seen[-1].t_s - seen[0].t_s)
    return Check(
        name, variant, share <= THROTTLED_SHARE, f"{share:.1%}", bound,
        "" if share <= THROTTLED_SHARE else "a cgroup limits this process: lift its cpu quota",
    )  # fmt: skip


def timers(
    variant: str, samples: Sequence[MachineSample], window: tuple[float, float] | None
) -> Check:
    """Timers fired when they were due, in all but a hundredth of the time."""
    name, bound = TIMERS, f"p99 ≤ {show_duration(LAG_S)}"
    seen = sorted((sample.lag_s, seconds) for sample, seconds in weighed(samples, window))
    if not seen:
        return unmeasured(name, variant, bound, "the machine was not watched in the window")
    reached_s = np.cumsum([seconds for _, seconds in seen])
    lag_s, _ = seen[int(np.searchsorted(reached_s, 0.99 * reached_s[-1]))]
    return Check(
        name, variant, lag_s <= LAG_S, f"p99 {show_duration(lag_s)}", bound,
        "" if lag_s <= LAG_S else "the machine wakes processes too late: what else runs here?",
        limits={"p99_s": LAG_S},
    )  # fmt: skip
