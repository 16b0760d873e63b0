"""The agents' own measures of fidelity: their event loops, and NIC loads against the formulae."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agents.binding import bound_by
from agents.nic_loads import nic_loads, shares
from agents.process import LAG_PERIOD_S
from agents.recorded import Run
from agents.records import (
    LoopLagRecord,
    ProcessRecord,
    RequestRecord,
    StepRecord,
    TransferRecord,
)
from testbed.fidelity.checks import Check
from testbed.units import show_duration, show_rate

MEAN_LAG_SHARE = 0.03
P99_LAG_SHARE = 0.5
LOAD_SHARE = 0.03
_MOST_BUFFERED = 0.1  # a tolerance above it would let nearly everything pass
_NOTHING_READ_S = 1.0
_LANDED = ("layer_load", "layer_fetch"), ("h2d",)  # what hit KV becomes after it was read


def loop_lag(run: Run) -> Check:
    """No process's event loop was late by much of the shortest time that it has to keep.

    That is a decode step, where engines take time; else the reading of a mean hit by an idle SNIC.
    Clocks do not add lateness up, so rates are off by no more than the mean lag over that time; and
    what is late by all of it would come after what should follow, hence the bound on the tail.
    """
    name = "loop lag"
    interval_s = shortest_interval_s(run)
    bound = f"mean ≤ {MEAN_LAG_SHARE:.0%}, p99 ≤ {P99_LAG_SHARE:.0%} of {show_duration(interval_s)}"
    lags: dict[str, list[float]] = {}
    for record in run.of(LoopLagRecord):
        if run.window is None or run.window[0] <= record.t_s < run.window[1]:
            lags.setdefault(record.process, []).append(record.lag_s)
    missing = {p.process for p in run.of(ProcessRecord)} - set(lags)
    if not lags or missing:
        who = ", ".join(sorted(missing)) or "no process"
        return Check(name, run.variant, None, "not measured", bound, f"of {who}")
    mean_s = {process: mean_lag_s(each) for process, each in lags.items()}
    p99_s = {process: p99_lag_s(each) for process, each in lags.items()}
    slow, late = max(mean_s, key=lambda who: mean_s[who]), max(p99_s, key=lambda who: p99_s[who])
    on_average = mean_s[slow] <= MEAN_LAG_SHARE * interval_s
    ok = on_average and p99_s[late] <= P99_LAG_SHARE * interval_s
    return Check(
        name, run.variant, ok,
        f"mean {show_duration(mean_s[slow])} ({slow}), p99 {show_duration(p99_s[late])} ({late})",
        bound,
        "" if ok else f"{late if on_average else slow} had more to do than it could in time: a "
        "larger scale.rate gives it more of it",
        limits={"mean_s": MEAN_LAG_SHARE * interval_s, "p99_s": P99_LAG_SHARE * interval_s},
    )  # fmt: skip


def mean_lag_s(lags_s: Sequence[float]) -> float:
    """How late a timer of a loop is in the mean, whenever it is due.

    While a loop stands still its own timer is late once only, and stands for all that would have
    been due meanwhile: those were late by half of it in the mean.
    """
    late_s = np.array(lags_s)
    return float(np.sum(LAG_PERIOD_S * late_s + late_s**2 / 2) / np.sum(LAG_PERIOD_S + late_s))


def p99_lag_s(lags_s: Sequence[float]) -> float:
    """What a loop was not later by in 99 % of the time."""
    late_s = np.sort(lags_s)
    reached_s = np.cumsum(LAG_PERIOD_S + late_s)
    return float(late_s[np.searchsorted(reached_s, 0.99 * reached_s[-1])])


def shortest_interval_s(run: Run) -> float:
    """The shortest emulated time that a process's timers or transfers have to keep."""
    steps = run.of(StepRecord)
    if steps:
        return min(step.t_end - step.t_start for step in steps)
    if not run.reads:
        return _NOTHING_READ_S
    mean_bytes = sum(t.size_bytes for t in run.reads) / len({t.request for t in run.reads})
    lines = [m.rate_bps for m in run.plan.meters if m.kind == "snic" and m.role != "storage"]
    return mean_bytes * 8 / min(lines)


def formulae(run: Run) -> Check:
    """In a storage-bound run, NICs carried what the formulae of DualPath section 4.2 say.

    What is read in the window and leaves the node after it is in buffers: that much more or less
    may a NIC have carried.
    """
    name, bound = "NIC loads are the formulae's", f"within {LOAD_SHARE:.0%}, storage-bound"
    what = bound_by(run)
    if what != "storage":
        return Check(name, run.variant, True, f"not asked: bound by {what}", bound, "")
    if why := _out_of_scope(run):
        return Check(name, run.variant, True, f"not asked: {why}", bound, "")
    loads = nic_loads(run)
    if not loads or run.window is None:
        return Check(name, run.variant, None, "not measured", bound, "nothing was read")
    read_bps = float(run.bytes_in_window(run.reads).sum()) * 8 / (run.window[1] - run.window[0])
    buffered = buffered_share(run)
    if buffered > _MOST_BUFFERED:
        return Check(
            name, run.variant, None,
            f"{buffered:.1%} of what was read filled or emptied buffers", bound,
            f"above {_MOST_BUFFERED:.0%} the formulae say little: lengthen duration",
        )  # fmt: skip
    apart = {}
    widest = 0.0
    for load in loads:
        difference_bps = abs(load.measured_bps - load.formula_bps)
        # Where the formula has next to nothing, a share of it says nothing: one of what is read.
        allowed_bps = LOAD_SHARE * read_bps
        if load.formula_bps > allowed_bps:
            widest = max(widest, difference_bps / load.formula_bps)
            allowed_bps = load.formula_bps * (LOAD_SHARE + buffered)
        if difference_bps > allowed_bps:
            apart[load.name] = load
    reason = ", ".join(
        f"{each} carried {show_rate(load.measured_bps)}/s, not {show_rate(load.formula_bps)}/s"
        for each, load in apart.items()
    )
    return Check(
        name, run.variant, not apart,
        f"widest {widest:.1%} apart; {buffered:.1%} of what was read stayed in buffers", bound,
        reason,
    )  # fmt: skip


def _out_of_scope(run: Run) -> str:
    """Why the formulae do not say what NICs carry; empty if they do."""
    if run.from_caches:
        return "hits came from caches"
    if any(request.reloaded_bytes for request in run.of(RequestRecord)):
        return "prompts were cut, and loaded again"
    if len(run.storage_reads) > len(run.reads):
        return "reads were given up"
    traffic = run.scenario.traffic
    if traffic.collectives and traffic.mode == "no-lanes":
        return "model execution is in the same lane"
    return ""


def buffered_share(run: Run) -> float:
    """Of the KV read in the window, the share by which it filled or emptied buffers there."""
    read = float(run.bytes_in_window(run.reads).sum())
    if not read:
        return 0.0
    measured = shares(run)
    miss = measured.miss if measured is not None else 0.0
    layers, whole = (
        float(run.bytes_in_window([t for t in run.of(TransferRecord) if t.kind in kinds]).sum())
        for kinds in _LANDED
    )
    return max(abs(read - layers), abs(read - whole / (1 + miss))) / read
