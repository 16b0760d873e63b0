"""What the agents' work costs a machine, in CPU seconds of all its cores, softirqs included.

All of it is measured (`agents.costing.measure`); the formulae that use it are pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

GIB = 2**30


class HopCost(msgspec.Struct, frozen=True):
    """A GiB sent, over one link with its shapers, and received, at one rate and packet size.

    Args:
        rate_bps: of the link.
        packet_bytes: the largest packet that its devices take (`PlanSettings.gso_bytes`).
        s_per_gib: CPU seconds.
    """

    rate_bps: float
    packet_bytes: float
    s_per_gib: float


class MachineCosts(msgspec.Struct, frozen=True):
    """CPU seconds of the whole machine.

    Args:
        snic: from storage to a node, or back: two shapers.
        cnic: over a CNIC's loopback, or from CNIC to CNIC: its read and its write shaper.
        check_s_per_gib: KV made, or compared with what it should be.
        operation_s: a control message, or a transfer that has completed.
        timer_s: a timer of a process's event loop.
        counter_s: the counters of one shaper, read.
        token_s: a token that the transformer generates, with its share of prefill.
        program_s: a program of the agents, until it is ready.
        program_bytes: memory of its own that it has then.
    """

    snic: tuple[HopCost, ...]
    cnic: tuple[HopCost, ...]
    check_s_per_gib: float
    operation_s: float
    timer_s: float
    counter_s: float
    token_s: float
    program_s: float
    program_bytes: float


def hop_s_per_gib(points: Sequence[HopCost], rate_bps: float, packet_bytes: float) -> float:
    """The cost of a GiB over a link, from those that were measured.

    Slower links send smaller aggregates and wake programs for less: linear in the logarithm of
    the rate, on below the slowest that was measured, flat above the fastest.  Smaller packets
    cost what more of them cost.

    Args:
        points: measured; with the largest packets at one rate at least.
        rate_bps, packet_bytes: of the link.
    """
    largest = max(point.packet_bytes for point in points)
    wide = sorted((p for p in points if p.packet_bytes == largest), key=lambda p: p.rate_bps)
    cost = _by_rate(wide, rate_bps)
    smaller = [p for p in points if p.packet_bytes < largest]
    if packet_bytes >= largest or not smaller:
        return cost
    small = min(smaller, key=lambda p: p.packet_bytes)
    more = GIB / small.packet_bytes - GIB / largest
    packet_s = max(0.0, small.s_per_gib - _by_rate(wide, small.rate_bps)) / more
    return cost + packet_s * (GIB / packet_bytes - GIB / largest)


def _by_rate(points: Sequence[HopCost], rate_bps: float) -> float:
    """On the line between the two points about a rate; the first two also below them."""
    last = points[-1]
    if rate_bps >= last.rate_bps or len(points) == 1:
        return last.s_per_gib
    index = next((i for i, p in enumerate(points) if p.rate_bps > rate_bps), len(points) - 1)
    low, high = points[max(0, index - 1)], points[max(1, index)]
    slope = (high.s_per_gib - low.s_per_gib) / math.log(high.rate_bps / low.rate_bps)
    # A machine that was disturbed may have found slow links the cheaper ones.
    return low.s_per_gib + min(0.0, slope) * math.log(rate_bps / low.rate_bps)


REFERENCE = MachineCosts(
    snic=(HopCost(100e6, 65536, 3.2), HopCost(800e6, 65536, 1.9), HopCost(100e6, 12500, 4.0)),
    cnic=(HopCost(100e6, 65536, 3.2), HopCost(800e6, 65536, 1.9), HopCost(100e6, 12500, 4.0)),
    check_s_per_gib=0.7,
    operation_s=60e-6,
    timer_s=30e-6,
    counter_s=20e-6,
    token_s=3.5e-3,
    program_s=0.3,
    program_bytes=20e6,
)
"""Of a virtual machine of two cores (Linux 6.18, Python 3.11), measured in November 2026 by
`testbed costs --measure`: what a prediction takes where this machine's own have not been measured,
and says so."""
