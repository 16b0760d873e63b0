"""A shaper as one batch of messages: qdisc, classes, leaf queues and filters.

A cluster has hundreds of shapers but only a handful of different ones.  The batch of each
structure is made once, with a stand-in for the device's index, and then needs one replacement
for each device.
"""

from __future__ import annotations

import itertools
import operator
import socket
from collections.abc import Iterable, Iterator, Sequence
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
_ALL_BUT_PLACE = operator.itemgetter(slice(2, None))  # namespace and device come first
_TOS_SHIFT = 16  # of the tos byte in the first word of the IPv4 header

Part = Shaper | ShaperClass | Filter


class DeviceParts(NamedTuple):
    """All that shapes one device, in no order."""

    shaper: Shaper
    classes: list[ShaperClass]
    filters: list[Filter]

    def each(self) -> Iterator[Part]:
        """All of it."""
        return itertools.chain((self.shaper,), self.classes, self.filters)


class DeviceShaper(NamedTuple):
    """A device, and all that shapes it."""

    ifindex: int
    queue_packets: int  # of the device: the depth of leaf queues that are not made explicitly
    parts: DeviceParts


def in_order(parts: DeviceParts) -> tuple[Part, ...]:
    """The parts of a shaper, each after what it refers to.

    Raises:
        KernelError: a class has no parent, or is its own ancestor.
    """
    children: dict[int, list[ShaperClass]] = {}
    for each in parts.classes:
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
    by_place = sorted(parts.filters, key=lambda f: (f.parent, f.priority, f.handle))
    return (parts.shaper, *ordered, *by_place)


class _Batch(NamedTuple):
    """The messages of one structure, for any device."""

    data: bytes
    messages: int


class ShaperWriter:
    """Makes shapers; remembers the batches of those that it has made."""

    def __init__(self) -> None:
        self._batches: dict[object, _Batch] = {}

    def write(self, device: DeviceShaper, route_socket: RouteSocket) -> None:
        """Make one shaper.

        Raises:
            KernelError: the kernel refused one of its parts; the message names it.
        """
        # Whatever is equal but for its place, in whichever order it is listed.
        shaper, classes, filters = device.parts
        structure = (
            device.queue_packets, _but_for_place([shaper]), _but_for_place(classes),
            _but_for_place(filters),
        )  # fmt: skip
        batch = self._batches.get(structure)
        if batch is None:
            batch = self._batches[structure] = _batch(device)
        data = for_device(batch.data, device.ifindex)
        route_socket.exchange(data, batch.messages - 1, lambda number: _listed(device)[number])


def _but_for_place(parts: Iterable[Part]) -> frozenset[tuple[object, ...]]:
    return frozenset(map(_ALL_BUT_PLACE, map(msgspec.structs.astuple, parts)))


def _listed(device: DeviceShaper) -> list[Part]:
    """What each message of a batch makes."""
    parts = in_order(device.parts)
    return [*parts, *(part for part in parts if _needs_queue(part, device.queue_packets))]


def _needs_queue(part: Part, device_queue_packets: int) -> bool:
    """A class gets a queue as deep as the device's when it is made; others are made here."""
    return isinstance(part, ShaperClass) and part.queue_packets not in (0, device_queue_packets)


def _batch(device: DeviceShaper) -> _Batch:
    handle = device.parts.shaper.handle << 16
    listed = _listed(device)
    parts = sum(1 for _ in device.parts.each())
    made = [_message(part, STAND_IN_INDEX, handle) for part in listed[:parts]]
    made += [
        messages.leaf_queue().fill(STAND_IN_INDEX, handle | part.classid, part.queue_packets)
        for part in listed[parts:]
        if isinstance(part, ShaperClass)
    ]
    data = number_messages(made)
    check_stand_ins(data, len(made))
    return _Batch(data, len(made))


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
    shapers: Iterable[Shaper], classes: Sequence[ShaperClass], filters: Sequence[Filter]
) -> dict[tuple[str, str], DeviceParts]:
    """(namespace, device) -> the parts of its shaper.

    Raises:
        KernelError: a class or a filter belongs to no shaper.
    """
    found = {(s.namespace, s.device): DeviceParts(s, [], []) for s in shapers}
    try:
        for each in classes:
            found[each.namespace, each.device].classes.append(each)
        for chosen in filters:
            found[chosen.namespace, chosen.device].filters.append(chosen)
    except KeyError as place:
        parts: list[ShaperClass | Filter] = [*classes, *filters]
        lost = next(part for part in parts if (part.namespace, part.device) == place.args[0])
        raise KernelError(f"{subject(lost)} belongs to no shaper") from None
    return found
