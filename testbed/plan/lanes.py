"""Virtual lanes: the HTB classes and filters of one shaper.

    1:1 line ─┬─ 1:10 model lane (99 %) ── 1:100 … one leaf per sender
              ├─ 1:20 kv lane (1 %) ────── 1:200 … one leaf per sender
              └─ 1:f000 unclassified: whatever is not IPv4; never empty-handed, always reported

Each lane may borrow the whole line (ceil); the model lane borrows first (prio).  A leaf is chosen
by bits of the source address, in the lane's own filter chain (HTB follows the chain of an inner
class, see tc-htb(8)).
"""

from __future__ import annotations

import functools
import ipaddress
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from testbed.plan.model import AnyElement, Filter, Shaper, ShaperClass, burst_ticks
from testbed.plan.settings import PlanSettings

ROOT, MODEL_LANE, KV_LANE, UNCLASSIFIED = 0x1, 0x10, 0x20, 0xF000
MODEL_LEAVES, KV_LEAVES = 0x100, 0x200
HANDLE = 1
MODEL_TOS = 0xB8  # DSCP EF (RFC 3246)
KV_TOS = 0x20  # DSCP CS1 (RFC 3662: lower effort)
DSCP_MASK = 0xFC
LANE_CLASSES = {"model": MODEL_LANE, "kv": KV_LANE, "unclassified": UNCLASSIFIED}
_KV_SHARE = 0.01
_UNCLASSIFIED_SHARE = 0.001
_LEAST_RATE_BPS = 8000


class Leaf(NamedTuple):
    """One leaf of a lane: sources with these address bits, and who they are."""

    value: int
    mask: int
    senders: tuple[str, ...]


class Leaves(NamedTuple):
    """The leaves of both lanes."""

    model: Sequence[Leaf]
    kv: Sequence[Leaf]

    @classmethod
    def alone(cls, sender: str) -> Leaves:
        """Of a port that only one can send through."""
        return cls([Leaf(0, 0, (sender,))], [Leaf(0, 0, (sender,))])


class Prefix(NamedTuple):
    """The addresses of one sender: `address` & `mask`."""

    address: int
    mask: int


@functools.cache
def address_int(address: str) -> int:
    """An IPv4 address as an integer."""
    return int(ipaddress.IPv4Address(address))


def choose_leaves(senders: Mapping[str, Prefix], limit: int, mask: int | None = None) -> list[Leaf]:
    """Divide senders into at most `limit` leaves, told apart by address bits.

    Args:
        senders: name -> addresses; none of them overlap.
        limit: a power of two.
        mask: the bits, where `leaf_bits` of a larger group has chosen them.

    Returns:
        One leaf each where there are few enough; otherwise leaves by the address bits that
        divide the senders most evenly.
    """
    if limit == 1 or not senders:
        return [Leaf(0, 0, tuple(senders))]
    if len(senders) <= limit:
        return [Leaf(p.address & p.mask, p.mask, (name,)) for name, p in senders.items()]
    if mask is None:
        mask = leaf_bits(senders.values(), limit)
    groups: dict[int, list[str]] = {}
    for name, prefix in senders.items():
        groups.setdefault(prefix.address & mask, []).append(name)
    return [Leaf(value, mask, tuple(names)) for value, names in sorted(groups.items())]


def leaf_bits(senders: Collection[Prefix], limit: int) -> int:
    """The address bits, as a mask, that divide senders most evenly into at most `limit` groups.

    Args:
        senders: addresses; none of them overlap.
        limit: a power of two.
    """
    shared = ~0
    for prefix in senders:
        shared &= prefix.mask
    addresses = [prefix.address for prefix in senders]
    candidates = [1 << bit for bit in range(32) if shared >> bit & 1]
    mask, largest = 0, len(addresses)
    while candidates and mask.bit_count() < limit.bit_length() - 1:
        best, bit = min((_largest_group(addresses, mask | bit), bit) for bit in candidates)
        if best == largest:
            break
        mask, largest = mask | bit, best
        candidates.remove(bit)
    return mask


def _largest_group(addresses: Sequence[int], mask: int) -> int:
    return max(Counter([address & mask for address in addresses]).values())


def _multiple_of_8(rate_bps: float) -> int:
    """HTB counts bytes per second: other rates would not read back as they were asked."""
    return max(_LEAST_RATE_BPS, int(rate_bps) // 8 * 8)


def shaper_elements(
    namespace: str, device: str, rate_bps: int, leaves: Leaves, settings: PlanSettings
) -> list[AnyElement]:
    """The qdisc, classes and filters of one shaper.

    Args:
        namespace, device: where.
        rate_bps: of the line, a multiple of 8.
        leaves: of each lane.
        settings: aggregation, bursts, queue depth.
    """
    unit = settings.gso_bytes(rate_bps) + settings.mtu
    line_burst = settings.link_burst_bytes(rate_bps)
    kv_bps = _multiple_of_8(rate_bps * _KV_SHARE)
    rest_bps = _multiple_of_8(rate_bps * _UNCLASSIFIED_SHARE)
    lanes_bps = {MODEL_LANE: max(8, rate_bps - kv_bps - rest_bps), KV_LANE: kv_bps}

    def made(
        classid: int, parent: int, rate: int, burst: int, priority: int, queue: int
    ) -> ShaperClass:
        return ShaperClass(
            namespace,
            device,
            classid,
            parent,
            rate,
            rate_bps,
            burst_ticks(burst, rate),
            burst_ticks(burst, rate_bps),
            unit,
            priority,
            queue,
        )

    queue = settings.queue_packets
    elements: list[AnyElement] = [
        Shaper(namespace, device, HANDLE, UNCLASSIFIED, queue),
        made(ROOT, 0, rate_bps, line_burst, 0, 0),
        made(UNCLASSIFIED, ROOT, rest_bps, unit, 7, queue),
        Filter(
            namespace,
            device,
            0,
            1,
            1,
            tos=MODEL_TOS,
            tos_mask=DSCP_MASK,
            source=0,
            source_mask=0,
            classid=MODEL_LANE,
        ),
        Filter(
            namespace,
            device,
            0,
            1,
            2,
            tos=0,
            tos_mask=0,
            source=0,
            source_mask=0,
            classid=KV_LANE,
        ),
    ]
    for lane, first, priority, own in (
        (MODEL_LANE, MODEL_LEAVES, 0, leaves.model),
        (KV_LANE, KV_LEAVES, 1, leaves.kv),
    ):
        elements.append(made(lane, ROOT, lanes_bps[lane], unit, 0, 0))
        leaf_bps = max(8, lanes_bps[lane] // len(own) // 8 * 8)
        for index, leaf in enumerate(own):
            classid = first + index
            elements.append(made(classid, lane, leaf_bps, unit, priority, queue))
            elements.append(
                Filter(
                    namespace,
                    device,
                    lane,
                    1,
                    index + 1,
                    tos=0,
                    tos_mask=0,
                    source=leaf.value,
                    source_mask=leaf.mask,
                    classid=classid,
                )
            )
    return elements


def leaf_names(leaves: Leaves) -> dict[str, list[str]]:
    """Class id (of the kv lane's leaf, in hex) -> senders that share it."""
    return {f"{KV_LEAVES + i:x}": list(leaf.senders) for i, leaf in enumerate(leaves.kv)}
