"""Calibration: before the load begins, each class of link is shown to be what was asked for.

One representative of each class and direction (`testbed.fidelity.link_classes`) is filled with real
bytes, by TCP and over the cluster's own NICs.  What counts is what *arrived* in a window, with the
headers that the kernel counted; and over all of the calibration the shaper must have counted what
arrived, or the bytes went past it.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from testbed.errors import ProgramError
from testbed.fidelity.checks import Check
from testbed.fidelity.link_classes import (
    Chosen,
    Filling,
    LinkClass,
    Nic,
    choose,
    class_of,
    flows_of,
)
from testbed.fidelity.processors import read_cpu_times, spent
from testbed.kernel.samples import MeterSample
from testbed.plan.model import Meter, Plan
from testbed.sandbox.program import Program
from testbed.units import show_duration, show_rate

if TYPE_CHECKING:
    from testbed.lab import Lab

LEAST_SHARE = 0.97
_NOISE = 0.02  # of timing arrivals in a process that may be late itself
_COUNTED_SHARE = 0.02  # headers are modelled, see `MeterSample.payload_bytes`
ROUND_TRIP_S = 0.002  # on an idle link; what crosses one takes well below 100 µs of the kernel
BUDGET_S = 3.0
_OVERHEAD_S = 0.3  # to start the program, and to read counters
_SETTLE_S = 0.1
_WINDOW_S = (0.15, 0.4)  # least and most
_SLICES = 4
_BUSY = 0.9  # of the machine's processors: then it is they that were full
_TIMEOUT_S = 30.0
_NAMED = 3


class ClassResult(msgspec.Struct, frozen=True):
    """One class of link, by its representative.

    Args:
        kind, role, direction, rate_bps: of the class; `role` is empty where it makes no difference.
        nic: the representative.
        reached_bps: of the line, from what arrived and its headers: over the window, or the median
            of its slices if that is more, for a moment's other load is not a slow link; None where
            nothing attached can fill it, and `note` says why.
        counted_share: of all payload that arrived, what the shaper counted.
        least_bps: what must arrive over the window: 97 % of its rate, less one aggregate of
            packets (half a burst), which may have been on its way at the window's end.
        most_bps: what its shaper may let through over the window: its rate, and one burst after a
            pause.
        round_trip_s: of a small message on the idle link, median.
        loader_share: of the time, in which the program that loads links was busy with its round.
        note: for people.
    """

    kind: str
    role: str
    direction: str
    rate_bps: int
    nic: str
    reached_bps: float | None
    counted_share: float | None
    least_bps: float | None
    most_bps: float | None
    round_trip_s: float | None
    loader_share: float | None = None
    note: str = ""

    @property
    def share(self) -> float:
        """Reached, of the line."""
        return (self.reached_bps or 0.0) / self.rate_bps

    @property
    def label(self) -> str:
        """The representative, and its rate, for people."""
        return f"{self.nic} {self.direction} ({show_rate(self.rate_bps)}/s)"


class Calibration(msgspec.Struct, frozen=True):
    """All classes of a cluster.

    Args:
        links: one result for each.
        took_s: in all.
        cpu_share: of all processors, busy while links were loaded.
    """

    links: list[ClassResult]
    took_s: float
    cpu_share: float


class FlowSeen(NamedTuple):
    """What the loading program says of one flow.

    Args:
        busy_share: of the time, in which the loading program did not wait for a socket.
        round_trips_s: of small messages, while nothing else was on its way.
        total_bytes: payload of all of it.
        arrived_bytes: payload that had come at each edge between the window's slices.
    """

    busy_share: float
    round_trips_s: Sequence[float]
    total_bytes: int
    arrived_bytes: Sequence[float]


class Counted(NamedTuple):
    """The counters of a (nic, direction) around all flows, and the payload that crossed it."""

    before: MeterSample
    after: MeterSample
    arrived_bytes: int


class _Loaded(NamedTuple):
    """What one run of the loading program brought."""

    rounds: list[dict[str, Any]]
    before: list[MeterSample]
    after: list[MeterSample]


def calibrate(lab: Lab, budget_s: float = BUDGET_S) -> Calibration:
    """Load every class of link of a running cluster on which nothing else runs.

    What misses its rate at first is loaded once more, if there is time: a moment's other load on
    the machine is not a slow link.

    Raises:
        ProgramError: the loading program failed.
        KernelError: a shaper is gone.
    """
    began_s, cpu = time.monotonic(), read_cpu_times()
    chosen = choose(lab.plan)
    window_s = window_length_s(len(chosen.rounds), budget_s)
    found = _measured(lab, chosen.rounds, window_s) if chosen.rounds else {}
    again = [
        filling
        for each in chosen.rounds
        for filling in each
        if any(problem(found[nic]) for nic in filling.filled)
    ]
    took_s = time.monotonic() - began_s
    if again and took_s + _OVERHEAD_S + len(again) * (_SETTLE_S + window_s) <= budget_s:
        for nic, result in _measured(lab, [[filling] for filling in again], window_s).items():
            if problem(found[nic]) and not problem(result):
                found[nic] = result
    busy = spent(cpu, read_cpu_times()).busy_share
    links = [*_representatives(lab.plan, found), *_unfilled(lab.plan, chosen)]
    return Calibration(links, time.monotonic() - began_s, busy)


def _representatives(plan: Plan, found: Mapping[Nic, ClassResult]) -> list[ClassResult]:
    """One result of each class, in the plan's order: of several that were filled, the worst."""
    worst: dict[LinkClass, ClassResult] = {}
    for meter in plan.meters:
        result = found.get((meter.nic, meter.direction))
        if result is not None:
            seen = worst.setdefault(class_of(meter), result)
            worst[class_of(meter)] = min(
                seen, result, key=lambda link: (not problem(link), link.share)
            )
    return list(worst.values())


def window_length_s(rounds: int, budget_s: float) -> float:
    """The window of each round, so that all of them keep to the budget."""
    least_s, most_s = _WINDOW_S
    each_s = (budget_s - _OVERHEAD_S) / max(1, rounds) - _SETTLE_S
    return min(most_s, max(least_s, 0.8 * each_s))  # the rest is for connecting and draining


def foreseen_s(plan: Plan, budget_s: float = BUDGET_S) -> float:
    """How long calibrating a plan's cluster takes, if nothing has to be tried again."""
    rounds = len(choose(plan).rounds)
    return _OVERHEAD_S + rounds * (_SETTLE_S + window_length_s(rounds, budget_s))


def _measured(
    lab: Lab, rounds: Sequence[Sequence[Filling]], window_s: float
) -> dict[Nic, ClassResult]:
    loaded = _load(lab, rounds, window_s)
    meters: dict[Nic, Meter] = {(meter.nic, meter.direction): meter for meter in lab.plan.meters}
    before: dict[Nic, MeterSample] = {(s.nic, s.direction): s for s in loaded.before}
    after: dict[Nic, MeterSample] = {(s.nic, s.direction): s for s in loaded.after}
    seen = [
        (filling, flows)
        for fillings, each in zip(rounds, loaded.rounds, strict=True)
        for filling, flows in _by_filling(fillings, each)
    ]
    crossed: Counter[Nic] = Counter()
    for filling, flows in seen:
        for nic, numbers in filling.crossing.items():
            crossed[nic] += sum(flows[number].total_bytes for number in numbers)
    found = {}
    for filling, flows in seen:
        for nic in filling.filled:
            mine = [flows[number] for number in filling.crossing[nic]]
            counted = Counted(before[nic], after[nic], crossed[nic])
            found[nic] = result_of(meters[nic], mine, counted, window_s)
    return found


def _by_filling(
    fillings: Sequence[Filling], seen: Mapping[str, Sequence[Any]]
) -> Iterator[tuple[Filling, list[FlowSeen]]]:
    """The flows of a round, by the filling that they are of."""
    flows = map(FlowSeen, *(seen[name] for name in FlowSeen._fields))
    for filling in fillings:
        yield filling, [next(flows) for _ in filling.flows]


def _load(lab: Lab, rounds: Sequence[Sequence[Filling]], window_s: float) -> _Loaded:
    """Run the loading program between two readings of the counters."""
    argv = (
        json.dumps([[list(flow) for flow in flows_of(each)] for each in rounds]),
        "--settle", str(_SETTLE_S), "--window", str(window_s), "--slices", str(_SLICES),
    )  # fmt: skip
    domain = next(iter(lab.plan.domains))
    program = Program(argv, domain, module="testbed.fidelity.loading", broker=True)
    before = lab.counters()
    with lab.start(program) as process:
        try:
            out, err = process.communicate(timeout=_TIMEOUT_S)
            status: int | str = process.wait()
        except TimeoutError:
            process.kill()
            out, err, status = b"", b"", f"no end within {_TIMEOUT_S:.0f} s"
    if status != 0:
        said = err.decode(errors="replace").strip().splitlines()
        raise ProgramError(
            f"the links could not be calibrated: {said[-1] if said else status}",
            hint="`calibration: false` runs without; its verdict then rests on the run alone",
        )
    return _Loaded(json.loads(out), before, lab.counters())


def result_of(
    meter: Meter, flows: Sequence[FlowSeen], counted: Counted, window_s: float
) -> ClassResult:
    """What one (nic, direction) reached.

    Args:
        meter: it.
        flows: those that filled it.
        counted: by the kernel, over all of the calibration.
        window_s: that the flows were counted in.
    """
    wire = counted.after.bytes - counted.before.bytes
    payload = counted.after.payload_bytes - counted.before.payload_bytes
    # Where the shaper counted nothing, bytes went past it, and its headers are not known.
    headers = wire / payload if payload > 0 else 1.0
    arrived = np.array([flow.arrived_bytes for flow in flows]).sum(axis=0)
    slices_bps = np.diff(arrived) * 8 / (window_s / (len(arrived) - 1))
    burst_bps = meter.burst_bytes * 8 / window_s
    each = class_of(meter)
    return ClassResult(
        kind=each.kind,
        role=each.role,
        direction=each.direction,
        rate_bps=each.rate_bps,
        nic=meter.nic,
        reached_bps=float(max(np.median(slices_bps), slices_bps.mean())) * headers,
        counted_share=payload / counted.arrived_bytes,
        least_bps=meter.rate_bps * LEAST_SHARE - burst_bps / 2,
        most_bps=meter.rate_bps * (1 + _NOISE) + burst_bps,
        round_trip_s=float(max(np.median(flow.round_trips_s) for flow in flows)),
        loader_share=max(flow.busy_share for flow in flows),
    )


def _unfilled(plan: Plan, chosen: Chosen) -> list[ClassResult]:
    found = []
    for meter in plan.meters:
        if why := chosen.unfilled.get((meter.nic, meter.direction)):
            each = class_of(meter)
            found.append(
                ClassResult(
                    each.kind, each.role, each.direction, each.rate_bps, meter.nic,
                    None, None, None, None, None, None, why,
                )
            )  # fmt: skip
    return found


def problem(link: ClassResult) -> str:
    """Why a link is not what was asked for; empty if it is, or if nothing can fill it.

    The management network has to be capped, and need not be full: nothing in a run fills it.
    """
    if link.reached_bps is None or link.counted_share is None:
        return ""
    assert link.least_bps is not None and link.most_bps is not None
    if link.reached_bps > link.most_bps:
        return "faster than its line: the shaping has a hole"
    if abs(link.counted_share - 1) > _COUNTED_SHARE:
        return f"its shaper counted {link.counted_share:.0%} of them: bytes go past it"
    if link.reached_bps < link.least_bps and link.kind != "mgmt":
        return "slow"
    return ""


def checks(variant: str, found: Calibration) -> list[Check]:
    """The calibration's part of the verdict.

    Args:
        variant: on whose cluster it was made.
        found: what was measured.
    """
    return [_rates(variant, found), _round_trips(variant, found)]


def _rates(variant: str, found: Calibration) -> Check:
    name = "links calibrated"
    bound = f"{LEAST_SHARE:.0%} (less one aggregate) to 100% of the line, each class"
    filled = [link for link in found.links if link.reached_bps is not None]
    if not filled:
        return Check(name, variant, None, "not measured", bound, "no link could be filled")
    wrong = {link.label: why for link in filled if (why := problem(link))}
    data = [link for link in filled if link.kind != "mgmt"] or filled
    least, most = (f(data, key=lambda link: link.share) for f in (min, max))
    named = [
        f"{link.label} reached {link.share:.1%}"
        + ("" if wrong[link.label] == "slow" else f", {wrong[link.label]}")
        for link in filled
        if link.label in wrong
    ]
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    reason = ", ".join(named[:_NAMED]) + more
    if "slow" in wrong.values():
        reason += "; " + too_slow(found)
    return Check(
        name, variant, not wrong,
        f"{len(filled)} classes, {least.share:.1%} to {most.share:.1%}", bound, reason,
    )  # fmt: skip


def too_slow(found: Calibration) -> str:
    """What a machine is told whose links do not reach their rate."""
    slow = [link for link in found.links if problem(link) == "slow"]
    loader_share = max(link.loader_share or 0.0 for link in slow)
    busy = f"processors were {found.cpu_share:.0%} busy, the program that loads links"
    busy += f" {loader_share:.0%} of a core"
    if max(found.cpu_share, loader_share) < _BUSY:
        return (
            f"{busy}: so it was not they; does something limit this process (a cpu quota), or "
            "does the kernel's timer come late?"
        )
    factor = max(link.rate_bps / max(1.0, link.reached_bps or 0.0) for link in slow)
    return (
        f"{busy}: this machine is too slow for these links now; stop what else runs, or make them "
        f"{factor:.2g} times slower (scale.rate)"
    )


def _round_trips(variant: str, found: Calibration) -> Check:
    name, bound = "idle round trips", f"≤ {show_duration(ROUND_TRIP_S)}"
    trips = {link.label: link.round_trip_s for link in found.links if link.round_trip_s is not None}
    if not trips:
        return Check(name, variant, None, "not measured", bound, "no link could be tried")
    slowest = max(trips, key=lambda label: trips[label])
    ok = trips[slowest] <= ROUND_TRIP_S
    return Check(
        name, variant, ok, f"at most {show_duration(trips[slowest])}", bound,
        "" if ok else f"{slowest} was not idle, or the machine answers late: what else runs here?",
    )  # fmt: skip
