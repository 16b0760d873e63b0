from __future__ import annotations

import struct
from collections.abc import Callable

import msgspec
import pytest

from testbed.errors import KernelError
from testbed.kernel.shaping import (
    DeviceParts,
    DeviceShaper,
    ShaperWriter,
    in_order,
    shapers_by_device,
)
from testbed.plan.lanes import Leaf, Leaves, shaper_elements
from testbed.plan.model import AnyElement, Filter, Shaper, ShaperClass
from testbed.plan.settings import PlanSettings

SETTINGS = PlanSettings()


def shaper(device: str = "eth0", namespace: str = "a") -> list[AnyElement]:
    leaves = [Leaf(i, 3, (f"h{i}",)) for i in range(4)]
    return shaper_elements(namespace, device, 100_000_000, Leaves(leaves, leaves), SETTINGS)


def kinds(
    elements: list[AnyElement],
) -> tuple[list[Shaper], list[ShaperClass], list[Filter]]:
    return (
        [e for e in elements if isinstance(e, Shaper)],
        [e for e in elements if isinstance(e, ShaperClass)],
        [e for e in elements if isinstance(e, Filter)],
    )


class Recorder:
    """Stands at the place of the socket and keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, list[AnyElement]]] = []

    def exchange(self, data: bytes, last: int, element: Callable[[int], AnyElement]) -> None:
        self.sent.append((data, [element(number) for number in range(last + 1)]))


def messages(data: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(data):
        (length,) = struct.unpack_from("=I", data, at)
        found.append(data[at : at + length])
        at += length
    return found


def test_parents_come_before_children_and_classes_before_filters() -> None:
    roots, classes, filters = kinds(shaper())
    ordered = in_order(DeviceParts(roots[0], classes[::-1], filters[::-1]))
    assert len(ordered) == 1 + len(classes) + len(filters)
    made = {0}
    for part in ordered:
        if isinstance(part, ShaperClass):
            assert part.parent in made
            made.add(part.classid)
        if isinstance(part, Filter):
            assert {part.parent, part.classid} <= made
    assert isinstance(ordered[0], Shaper)


def test_a_class_without_a_parent_is_named() -> None:
    roots, classes, filters = kinds(shaper())
    orphaned = [c for c in classes if c.classid != 0x20]
    with pytest.raises(KernelError, match="class 1:200 of eth0 in a has no parent 20"):
        in_order(DeviceParts(roots[0], orphaned, filters))


def test_parts_without_a_shaper_are_named() -> None:
    _, classes, filters = kinds(shaper())
    with pytest.raises(KernelError, match="belongs to no shaper"):
        shapers_by_device([], classes, [])
    with pytest.raises(KernelError, match="belongs to no shaper"):
        shapers_by_device([], [], filters)


def test_equal_shapers_however_listed_differ_in_the_index_alone() -> None:
    writer, socket = ShaperWriter(), Recorder()
    for index, device in ((1001, "eth0"), (1002, "eth1")):
        roots, classes, filters = kinds(shaper(device))
        shuffle = slice(None, None, -1) if device == "eth1" else slice(None)
        parts = DeviceParts(roots[0], classes[shuffle], filters[shuffle])
        writer.write(DeviceShaper(index, SETTINGS.queue_packets, parts), socket)  # type: ignore[arg-type]
    (first, _), (second, named) = socket.sent
    assert first.replace(struct.pack("=I", 1001), struct.pack("=I", 1002)) == second
    assert all(struct.unpack_from("=I", m, 20) == (1002,) for m in messages(second))
    # Whatever is refused is named after the second device.
    assert {e.device for e in named} == {"eth1"}  # type: ignore[union-attr]
    assert len(messages(second)) == len(named)


def test_messages_are_numbered_and_only_the_last_asks_for_an_answer() -> None:
    roots, classes, filters = kinds(shaper())
    socket = Recorder()
    parts = DeviceParts(roots[0], classes, filters)
    ShaperWriter().write(DeviceShaper(5, SETTINGS.queue_packets, parts), socket)  # type: ignore[arg-type]
    found = messages(socket.sent[0][0])
    assert [struct.unpack_from("=I", m, 8)[0] for m in found] == list(
        range(len(list(parts.each())))
    )
    wants_answer = [bool(struct.unpack_from("=H", m, 6)[0] & 0x4) for m in found]
    assert wants_answer == [False] * (len(found) - 1) + [True]


def test_a_leaf_of_another_depth_gets_a_queue_of_its_own() -> None:
    roots, classes, filters = kinds(shaper())
    deeper = [
        msgspec.structs.replace(c, queue_packets=77) if c.classid == 0x201 else c for c in classes
    ]
    socket = Recorder()
    parts = DeviceParts(roots[0], deeper, filters)
    ShaperWriter().write(DeviceShaper(5, SETTINGS.queue_packets, parts), socket)  # type: ignore[arg-type]
    data, elements = socket.sent[0]
    assert len(messages(data)) == len(elements) == len(list(parts.each())) + 1
    assert isinstance(elements[-1], ShaperClass) and elements[-1].classid == 0x201
    assert b"pfifo" in messages(data)[-1]
