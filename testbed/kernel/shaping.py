"""A shaper as one batch of messages: qdisc, classes, leaf queues and filters.

A cluster has hundreds of shapers but only a handful of different ones.  The batch of each
structure is made once, with a stand-in for the device's index, and then needs one replacement
for each device.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from testbed.errors import KernelError
from testbed.kernel import shaper_messages as messages
from testbed.kernel.netlink import RouteSocket, number_messages
from testbed.kernel.subjects import subject
from testbed.kernel.template import STAND_IN_INDEX, check_stand_ins, for_device
from testbed.plan.model import Filter, Shaper, ShaperClass

_UINT32_MAX = 0xFFFFFFFF
_SOURCE_OFFSET = 12  # of the source address in the IPv4 header (RFC 791)
_TOS_SHIFT = 16  # of the tos byte in the first word of the IPv4 header

Part = Shaper | ShaperClass | Filter


class DeviceShaper(NamedTuple):
    """All that shapes one device, in the order in which it is made."""

    ifindex: int
    queue_packets: int  # of the device: the depth of leaf queues that are not made explicitly
    parts: tuple[Part, ...]


def in_order(
    shaper: Shaper, classes: Iterable[ShaperClass], filters: Iterable[Filter]
) -> tuple[Part, ...]:
    """The parts of a shaper, each after what it refers to.

    Raises:
        KernelError: a class has no parent, or is its own ancestor.
    """
    children: dict[int, list[ShaperClass]] = {}
    for each in classes:
        children.setdefault(each.parent, []).append(each)
    ordered: list[ShaperClass] = []
    level = [0]
    while level:
        made = [
            each
            for parent in level
            for each in sorted(children.pop(parent, ()), key=lambda c: c.classid)
        ]
        ordered += made
        level = [each.classid for each in made]
    for orphans in children.values():
        raise KernelError(f"{subject(orphans[0])} has no parent {orphans[0].parent:x}")
    by_place = sorted(filters, key=lambda f: (f.parent, f.priority, f.handle))
    return (shaper, *ordered, *by_place)


class ShaperWriter:
    """Makes shapers; remembers the batches of those that it has made."""

    def __init__(self) -> None:
        self._batches: dict[object, bytes] = {}

    def write(self, device: DeviceShaper, route_socket: RouteSocket) -> None:
        """Make one shaper.

        Raises:
            KernelError: the kernel refused one of its parts; the message names it.
        """
        structure = (
            device.queue_packets,
            *[(type(part), msgspec.structs.astuple(part)[2:]) for part in device.parts],
        )
        batch = self._batches.get(structure)
        if batch is None:
            batch = self._batches[structure] = _batch(device)
        elements = list(device.parts)
        elements += [p for p in device.parts if _needs_queue(p, device.queue_packets)]
        data = for_device(batch, device.ifindex)
        route_socket.exchange(data, len(elements), elements.__getitem__)


def _needs_queue(part: Part, device_queue_packets: int) -> bool:
    """A class gets a queue as deep as the device's when it is made; others are made here."""
    return isinstance(part, ShaperClass) and part.queue_packets not in (0, device_queue_packets)


def _batch(device: DeviceShaper) -> bytes:
    handle = next(p.handle for p in device.parts if isinstance(p, Shaper)) << 16
    made = [_message(part, STAND_IN_INDEX, handle) for part in device.parts]
    made += [
        messages.leaf_queue().fill(STAND_IN_INDEX, handle | part.classid, part.queue_packets)
        for part in device.parts
        if isinstance(part, ShaperClass) and _needs_queue(part, device.queue_packets)
    ]
    data = number_messages(made)
    check_stand_ins(data, len(made))
    return data


def _message(part: Part, index: int, handle: int) -> bytearray:
    match part:
        case Shaper():
            return messages.htb().fill(index, handle, part.default_class, part.direct_queue_packets)
        case ShaperClass():
            return _class_message(part, index, handle)
        case Filter():
            return _filter_message(part, index, handle)


def _class_message(part: ShaperClass, index: int, handle: int) -> bytearray:
    rate, ceil = part.rate_bps // 8, part.ceil_bps // 8
    return messages.htb_class().fill(
        index, handle | part.classid, handle | part.parent,
        min(rate, _UINT32_MAX), min(ceil, _UINT32_MAX), part.burst_ticks, part.ceil_burst_ticks,
        part.quantum_bytes, part.priority, rate, ceil,
    )  # fmt: skip


def _filter_message(part: Filter, index: int, handle: int) -> bytearray:
    keys: list[int] = []
    if part.tos_mask:
        keys += part.tos_mask << _TOS_SHIFT, part.tos << _TOS_SHIFT, 0
    if part.source_mask:
        keys += part.source_mask, part.source, _SOURCE_OFFSET
    return messages.u32(len(keys) // 3).fill(
        index, part.handle, handle | part.parent,
        part.priority << 16 | socket.htons(messages.ETH_P_IP), handle | part.classid, *keys,
    )  # fmt: skip


def shapers_by_device(
    shapers: Iterable[Shaper], classes: Iterable[ShaperClass], filters: Iterable[Filter]
) -> dict[tuple[str, str], tuple[Part, ...]]:
    """(namespace, device) -> the parts of its shaper, in order.

    Raises:
        KernelError: a class or a filter belongs to no shaper.
    """
    parts: dict[tuple[str, str], tuple[list[ShaperClass], list[Filter]]] = {}
    roots = {(s.namespace, s.device): s for s in shapers}
    for place in roots:
        parts[place] = ([], [])
    for each in classes:
        _belongs(each, parts)[0].append(each)
    for chosen in filters:
        _belongs(chosen, parts)[1].append(chosen)
    return {place: in_order(roots[place], *parts[place]) for place in sorted(roots)}


def _belongs(
    part: ShaperClass | Filter,
    parts: dict[tuple[str, str], tuple[list[ShaperClass], list[Filter]]],
) -> tuple[list[ShaperClass], list[Filter]]:
    try:
        return parts[part.namespace, part.device]
    except KeyError:
        raise KernelError(f"{subject(part)} belongs to no shaper") from None
