"""What the agents' work costs a machine, in CPU seconds of all its cores, softirqs included.

All of it is measured (`agents.costing.measure`); the formulae that use it are pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import msgspec

GIB = 2**30
_Point: TypeAlias = tuple[float, float, float]  # rate, packet, CPU seconds a GiB


class HopCost(msgspec.Struct, frozen=True):
    """A GiB sent, over one link with its shapers, and received, at one rate and packet size.

    Args:
        rate_bps: of the link.
        packet_bytes: the largest packet that its devices take (`PlanSettings.gso_bytes`).
        s_per_gib: CPU seconds of the machine.
        programs_s_per_gib: of them, of the programs at both ends; the rest are softirqs that ran
            when something else did, or nothing.
    """

    rate_bps: float
    packet_bytes: float
    s_per_gib: float
    programs_s_per_gib: float = 0.0


class MachineCosts(msgspec.Struct, frozen=True):
    """CPU seconds of the whole machine.

    Args:
        snic: from storage to a node, or back: two shapers.
        cnic: over a CNIC's loopback, or from CNIC to CNIC: its read and its write shaper.
        check_s_per_gib: KV made, or compared with what it should be.
        operation_s: a control message, or an event of a transfer.
        timer_s: a timer of a process's event loop.
        counter_s: the counters of one shaper, read.
        token_s: a token that the transformer generates, with its share of prefill.
        load_s: the modules of all programs of the agents, imported once for a cluster.
        load_bytes: memory that these take.
        program_s: a program of the agents, from then until it is ready.
        program_bytes: memory of its own that it has then.
        bring_up_s: of any cluster, beside what its objects take (`testbed.plan.footprint`).
    """

    snic: tuple[HopCost, ...]
    cnic: tuple[HopCost, ...]
    check_s_per_gib: float
    operation_s: float
    timer_s: float
    counter_s: float
    token_s: float
    load_s: float
    load_bytes: float
    program_s: float
    program_bytes: float
    bring_up_s: float


class HopSeconds(NamedTuple):
    """CPU seconds a GiB: of the machine, and of the programs alone."""

    machine: float
    programs: float


def hop_s_per_gib(points: Sequence[HopCost], rate_bps: float, packet_bytes: float) -> HopSeconds:
    """The cost of a GiB over a link, from those that were measured.

    Slower links send smaller aggregates and wake programs for less: linear in the logarithm of
    the rate, on below the slowest that was measured, flat above the fastest.  Smaller packets
    cost what more of them cost.

    Args:
        points: measured; with the largest packets at one rate at least.
        rate_bps, packet_bytes: of the link.
    """
    machine = [(p.rate_bps, p.packet_bytes, p.s_per_gib) for p in points]
    programs = [(p.rate_bps, p.packet_bytes, p.programs_s_per_gib) for p in points]
    return HopSeconds(
        _between(machine, rate_bps, packet_bytes), _between(programs, rate_bps, packet_bytes)
    )


def _between(points: Sequence[_Point], rate_bps: float, packet_bytes: float) -> float:
    largest = max(packet for _, packet, _ in points)
    wide = sorted((rate, cost) for rate, packet, cost in points if packet == largest)
    cost = _by_rate(wide, rate_bps)
    smaller = [point for point in points if point[1] < largest]
    if packet_bytes >= largest or not smaller:
        return cost
    rate, packet, small = min(smaller, key=lambda point: point[1])
    more = GIB / packet - GIB / largest
    packet_s = max(0.0, small - _by_rate(wide, rate)) / more
    return cost + packet_s * (GIB / packet_bytes - GIB / largest)


def _by_rate(points: Sequence[tuple[float, float]], rate_bps: float) -> float:
    """On the line between the two points about a rate; the first two also below them."""
    fastest, cost = points[-1]
    if rate_bps >= fastest or len(points) == 1:
        return cost
    index = next((i for i, (rate, _) in enumerate(points) if rate > rate_bps), len(points) - 1)
    (low, low_cost), (high, high_cost) = points[max(0, index - 1)], points[max(1, index)]
    slope = (high_cost - low_cost) / math.log(high / low)
    # A machine that was disturbed may have found slow links the cheaper ones.
    return low_cost + min(0.0, slope) * math.log(rate_bps / low)


REFERENCE = MachineCosts(
    snic=(
        HopCost(100e6, 65536, 2.4, 1.7),
        HopCost(800e6, 65536, 1.15, 0.5),
        HopCost(100e6, 12500, 2.7, 1.5),
    ),
    cnic=(
        HopCost(100e6, 65536, 2.5, 1.65),
        HopCost(800e6, 65536, 1.35, 0.55),
        HopCost(100e6, 12500, 6.4, 2.1),
    ),
    check_s_per_gib=0.44,
    operation_s=42e-6,
    timer_s=26e-6,
    counter_s=26e-6,
    token_s=4.4e-3,
    load_s=0.16,
    load_bytes=15e6,
    program_s=0.01,
    program_bytes=7.3e6,
    bring_up_s=0.08,
)
"""Of an idle virtual machine of two cores (Linux 6.18, Python 3.11), November 2026, in the middle
of what `testbed costs --measure` found twice: what a prediction takes where this machine's own have
not been measured, and says so."""
