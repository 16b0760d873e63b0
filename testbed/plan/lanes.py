"""Virtual lanes: the HTB classes and filters of one shaper.

    1:1 line ─┬─ 1:10 model lane (99 %) ── 1:100 … one leaf per sender
              ├─ 1:20 kv lane (1 %) ────── 1:200 … one leaf per sender
              └─ 1:f000 unclassified: whatever is not IPv4; never empty-handed, always reported

Each lane may borrow the whole line (ceil); the model lane borrows first (prio).  A leaf is chosen
by bits of the source address, in the lane's own filter chain (HTB follows the chain of an inner
class, see tc-htb(8)).  A shaper without lanes has the kv lane only, which takes every mark.
"""

from __future__ import annotations

import functools
import ipaddress
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
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


def lane_classes(*, lanes: bool) -> dict[str, int]:
    """The lanes of a shaper by name, with their class ids."""
    kept = LANE_CLASSES.items()
    return {name: classid for name, classid in kept if lanes or classid != MODEL_LANE}


class _Lane(NamedTuple):
    """One lane of a shaper: its class, that of its first leaf, and which packets are its own."""

    classid: int
    first_leaf: int
    priority: int
    rate_bps: int
    leaves: Sequence[Leaf]
    filter: int
    tos: int
    tos_mask: int


def _lanes(rate_bps: int, rest_bps: int, leaves: Leaves, *, lanes: bool) -> list[_Lane]:
    if not lanes:
        whole_bps = max(8, rate_bps - rest_bps)
        return [_Lane(KV_LANE, KV_LEAVES, 1, whole_bps, leaves.kv, 1, 0, 0)]
    kv_bps = _multiple_of_8(rate_bps * _KV_SHARE)
    model_bps = max(8, rate_bps - kv_bps - rest_bps)
    return [
        _Lane(MODEL_LANE, MODEL_LEAVES, 0, model_bps, leaves.model, 1, MODEL_TOS, DSCP_MASK),
        _Lane(KV_LANE, KV_LEAVES, 1, kv_bps, leaves.kv, 2, 0, 0),
    ]


def shaper_elements(
    namespace: str,
    device: str,
    rate_bps: int,
    leaves: Leaves,
    settings: PlanSettings,
    *,
    lanes: bool = True,
) -> list[AnyElement]:
    """The qdisc, classes and filters of one shaper.

    Args:
        namespace, device: where.
        rate_bps: of the line, a multiple of 8.
        leaves: of each lane.
        settings: aggregation, bursts, queue depth; whether any shaper has lanes.
        lanes: whether this one may have.
    """
    make = _ShaperMaker(namespace, device, rate_bps, settings)
    rest_bps = _multiple_of_8(rate_bps * _UNCLASSIFIED_SHARE)
    elements: list[AnyElement] = [
        Shaper(namespace, device, HANDLE, UNCLASSIFIED, settings.queue_packets),
        make.line(),
        make.leaf(UNCLASSIFIED, ROOT, rest_bps, 7),
    ]
    for lane in _lanes(rate_bps, rest_bps, leaves, lanes=lanes and settings.lanes):
        elements += make.lane(lane)
    return elements


class _ShaperMaker:
    """Makes the classes and filters of one shaper; arguments as of `shaper_elements`."""

    def __init__(self, namespace: str, device: str, rate_bps: int, settings: PlanSettings) -> None:
        self._namespace, self._device, self._rate_bps = namespace, device, rate_bps
        self._unit_bytes = settings.gso_bytes(rate_bps) + settings.mtu
        self._line_burst_bytes = settings.link_burst_bytes(rate_bps)
        self._queue_packets = settings.queue_packets

    def line(self) -> ShaperClass:
        """The root class: the only one with the link's burst, as those of leaves add up."""
        return self._class(ROOT, 0, self._rate_bps, self._line_burst_bytes, 0, 0)

    def leaf(self, classid: int, parent: int, rate_bps: int, priority: int) -> ShaperClass:
        """A class with a queue."""
        return self._class(
            classid, parent, rate_bps, self._unit_bytes, priority, self._queue_packets
        )

    def lane(self, lane: _Lane) -> Iterator[AnyElement]:
        """A lane, its leaves, and the filters that lead to them."""
        yield self._filter(0, lane.filter, lane.classid, tos=lane.tos, tos_mask=lane.tos_mask)
        yield self._class(lane.classid, ROOT, lane.rate_bps, self._unit_bytes, 0, 0)
        leaf_bps = max(8, lane.rate_bps // len(lane.leaves) // 8 * 8)
        for index, leaf in enumerate(lane.leaves):
            classid = lane.first_leaf + index
            yield self.leaf(classid, lane.classid, leaf_bps, lane.priority)
            yield self._filter(
                lane.classid, index + 1, classid, source=leaf.value, source_mask=leaf.mask
            )

    def _class(
        self, classid: int, parent: int, rate_bps: int, burst_bytes: int, priority: int, queue: int
    ) -> ShaperClass:
        return ShaperClass(
            self._namespace,
            self._device,
            classid,
            parent,
            rate_bps,
            self._rate_bps,
            burst_ticks(burst_bytes, rate_bps),
            burst_ticks(burst_bytes, self._rate_bps),
            self._unit_bytes,
            priority,
            queue,
        )

    def _filter(
        self,
        parent: int,
        handle: int,
        classid: int,
        *,
        tos: int = 0,
        tos_mask: int = 0,
        source: int = 0,
        source_mask: int = 0,
    ) -> Filter:
        return Filter(
            self._namespace,
            self._device,
            parent,
            1,
            handle,
            tos=tos,
            tos_mask=tos_mask,
            source=source,
            source_mask=source_mask,
            classid=classid,
        )


def leaf_names(leaves: Leaves) -> dict[str, tuple[str, ...]]:
    """Class id (of the kv lane's leaf, in hex) -> senders that share it."""
    return {f"{KV_LEAVES + i:x}": leaf.senders for i, leaf in enumerate(leaves.kv)}
