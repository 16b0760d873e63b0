"""Calibration: before the load begins, each class of link is shown to be what was asked for.

One representative of each class and direction (`testbed.fidelity.link_classes`) is filled with real
bytes, by TCP and over the cluster's own NICs.  What counts is what *arrived*, with the headers that
the kernel counted; and the shaper must have counted the same, or the bytes went past it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from testbed.errors import ProgramError
from testbed.fidelity.checks import Check
from testbed.fidelity.link_classes import Chosen, Filling, Nic, choose, class_of, flows_of
from testbed.fidelity.monitor import cpu_shares, read_cpu_ticks
from testbed.fidelity.sampler import Sampler
from testbed.kernel.samples import MeterSample
from testbed.plan.model import Meter, Plan
from testbed.sandbox.program import Program
from testbed.units import show_duration, show_rate

if TYPE_CHECKING:
    from testbed.lab import Lab

LEAST_SHARE = 0.97
_NOISE = 0.005  # of reading counters
ROUND_TRIP_S = 0.002  # on an idle link; what crosses one takes well below 100 µs of the kernel
BUDGET_S = 3.0
_OVERHEAD_S = 0.3  # to start the program, and to read counters
_SETTLE_S = 0.1
_WINDOW_S = (0.15, 0.4)  # least and most
_SLICES = 4
_SAMPLE_S = 0.05
_BUSY = 0.9  # of the machine's processors: then it is they that were full
_TIMEOUT_S = 30.0
_NAMED = 3


class ClassResult(msgspec.Struct, frozen=True):
    """One class of link, by its representative.

    Args:
        kind, role, direction, rate_bps: of the class; `role` is empty where it makes no difference.
        nic: the representative.
        reached_bps: of the line, from what arrived and its headers: median of the window's slices;
            None where nothing attached can fill it, and `note` says why.
        counted_bps: by the shaper's own counter.
        most_bps: what its shaper may let through over the window: its rate, and one burst after a
            pause.
        round_trip_s: of a small message on the idle link, median.
        note: for people.
    """

    kind: str
    role: str
    direction: str
    rate_bps: int
    nic: str
    reached_bps: float | None
    counted_bps: float | None
    most_bps: float | None
    round_trip_s: float | None
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


class _Loaded(NamedTuple):
    """What one run of the loading program brought."""

    rounds: list[dict[str, Any]]
    samples: list[list[MeterSample]]


def calibrate(lab: Lab, budget_s: float = BUDGET_S) -> Calibration:
    """Load every class of link of a running cluster on which nothing else runs.

    What misses its rate at first is loaded once more, if there is time: a moment's other load on
    the machine is not a slow link.

    Raises:
        ProgramError: the loading program failed.
        KernelError: a shaper is gone.
    """
    began_s, ticks = time.monotonic(), read_cpu_ticks()
    chosen = choose(lab.plan)
    window_s = window_length_s(len(chosen.rounds), budget_s)
    found = _measured(lab, chosen.rounds, window_s) if chosen.rounds else {}
    again = [
        filling
        for each in chosen.rounds
        for filling in each
        if any(problem(found[nic]) for nic in filling.crossing)
    ]
    took_s = time.monotonic() - began_s
    if again and took_s + _OVERHEAD_S + len(again) * (_SETTLE_S + window_s) <= budget_s:
        for nic, result in _measured(lab, [[filling] for filling in again], window_s).items():
            if problem(found[nic]) and not problem(result):
                found[nic] = result
    busy = cpu_shares(ticks, read_cpu_ticks()).busy
    return Calibration(
        [*found.values(), *_unfilled(lab.plan, chosen)], time.monotonic() - began_s, busy
    )


def window_length_s(rounds: int, budget_s: float) -> float:
    """The window of each round, so that all of them keep to the budget."""
    least_s, most_s = _WINDOW_S
    each_s = (budget_s - _OVERHEAD_S) / max(1, rounds) - _SETTLE_S
    return min(most_s, max(least_s, 0.8 * each_s))  # the rest is for connecting and draining


def _measured(
    lab: Lab, rounds: Sequence[Sequence[Filling]], window_s: float
) -> dict[Nic, ClassResult]:
    loaded = _load(lab, rounds, window_s)
    meters: dict[Nic, Meter] = {(meter.nic, meter.direction): meter for meter in lab.plan.meters}
    found = {}
    for fillings, seen in zip(rounds, loaded.rounds, strict=True):
        at = 0
        for filling in fillings:
            mine = slice(at, at + len(filling.flows))
            at = mine.stop
            for nic, crossing in filling.crossing.items():
                found[nic] = result_of(
                    meters[nic],
                    np.array([seen["arrived_bytes"][mine][flow] for flow in crossing]),
                    [seen["round_trips_s"][mine][flow] for flow in crossing],
                    (seen["open_s"], seen["close_s"]),
                    loaded.samples,
                )
    return found


def _load(lab: Lab, rounds: Sequence[Sequence[Filling]], window_s: float) -> _Loaded:
    """Run the loading program, and read the counters meanwhile."""
    argv = (
        json.dumps([[list(flow) for flow in flows_of(each)] for each in rounds]),
        "--settle", str(_SETTLE_S), "--window", str(window_s), "--slices", str(_SLICES),
    )  # fmt: skip
    domain = next(iter(lab.plan.domains))
    program = Program(argv, domain, module="testbed.fidelity.loading", broker=True)
    sampler = Sampler(lab, _SAMPLE_S)
    try:
        with lab.start(program) as process:
            try:
                out, err = process.communicate(timeout=_TIMEOUT_S)
                status: int | str = process.wait()
            except TimeoutError:
                process.kill()
                out, err, status = b"", b"", f"no end within {_TIMEOUT_S:.0f} s"
    finally:
        samples = sampler.stop()
    if status != 0:
        said = err.decode(errors="replace").strip().splitlines()
        raise ProgramError(
            f"the links could not be calibrated: {said[-1] if said else status}",
            hint="`calibration: false` runs without; its verdict then rests on the run alone",
        )
    return _Loaded(json.loads(out), samples)


def result_of(
    meter: Meter,
    arrived_bytes: np.ndarray,
    round_trips_s: Sequence[Sequence[float]],
    window: tuple[float, float],
    samples: Sequence[Sequence[MeterSample]],
) -> ClassResult:
    """What one (nic, direction) reached.

    Args:
        meter: it.
        arrived_bytes: payload that had come at each edge between slices, shape (flows, slices + 1).
        round_trips_s: of each flow.
        window: (open, close).
        samples: the kernel's counters around it.
    """
    length_s = window[1] - window[0]
    nic = (meter.nic, meter.direction)
    mine = [sample for row in samples for sample in row if (sample.nic, sample.direction) == nic]
    times = [sample.t_s for sample in mine]
    wire, payload = (
        float(np.diff(np.interp(window, times, [getattr(s, name) for s in mine]))[0])
        for name in ("bytes", "payload_bytes")
    )
    # Headers as the kernel counted them; where it counted nothing, bytes went past the shaper.
    headers = wire / payload if payload > 0 else 1.0
    slices = np.diff(arrived_bytes.sum(axis=0)) * 8 / (length_s / (arrived_bytes.shape[1] - 1))
    each = class_of(meter)
    return ClassResult(
        kind=each.kind,
        role=each.role,
        direction=each.direction,
        rate_bps=each.rate_bps,
        nic=meter.nic,
        reached_bps=float(np.median(slices)) * headers,
        counted_bps=wire * 8 / length_s,
        most_bps=meter.rate_bps * (1 + _NOISE) + meter.burst_bytes * 8 / length_s,
        round_trip_s=float(max(np.median(trips) for trips in round_trips_s)),
    )


def _unfilled(plan: Plan, chosen: Chosen) -> list[ClassResult]:
    found = []
    for meter in plan.meters:
        if why := chosen.unfilled.get((meter.nic, meter.direction)):
            each = class_of(meter)
            found.append(
                ClassResult(
                    each.kind, each.role, each.direction, each.rate_bps, meter.nic,
                    None, None, None, None, why,
                )
            )  # fmt: skip
    return found


def problem(link: ClassResult) -> str:
    """Why a link is not what was asked for; empty if it is, or if nothing can fill it.

    The management network has to be capped, and need not be full: nothing in a run fills it.
    """
    if link.reached_bps is None or link.counted_bps is None or link.most_bps is None:
        return ""
    if link.reached_bps > link.most_bps:
        return "faster than its line: the shaping has a hole"
    if link.counted_bps < LEAST_SHARE * min(link.rate_bps, link.reached_bps):
        return f"its shaper counted {show_rate(link.counted_bps)}/s: bytes go past it"
    if link.share < LEAST_SHARE and link.kind != "mgmt":
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
    name, bound = "links calibrated", f"{LEAST_SHARE:.0%} to 100% of the line, each class"
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
    if found.cpu_share < _BUSY:
        return (
            f"the processors were {found.cpu_share:.0%} busy, so it was not they: does something "
            "limit this process (a cpu quota), or does the kernel's timer come late?"
        )
    slow = [link for link in found.links if problem(link) == "slow"]
    factor = max(link.rate_bps / max(1.0, link.reached_bps or 0.0) for link in slow)
    return (
        f"the processors were {found.cpu_share:.0%} busy: this machine is too slow for these "
        f"links now; stop what else runs, or make them {factor:.2g} times slower (scale.rate)"
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
