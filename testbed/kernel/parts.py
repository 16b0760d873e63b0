"""A plan in parts: what can be made once each of its namespaces is there.

A part holds all of a device, and of what depends on it, so that the order of making kept within
each part is kept altogether.  Addresses, routes, rules and neighbours belong to the part with
which the devices of their namespace are complete.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from testbed.errors import KernelError
from testbed.kernel.shaping import DeviceParts, shapers_by_device
from testbed.kernel.subjects import subject
from testbed.plan.model import (
    Address,
    AnyElement,
    Bridge,
    Filter,
    Ifb,
    Namespace,
    Neighbour,
    Neighbours,
    Plan,
    Redirect,
    Route,
    Rule,
    Shaper,
    ShaperClass,
    Sysctl,
    Unknown,
    Veth,
)

T = TypeVar("T", bound=AnyElement)
Place = tuple[str, str]  # namespace, device
_BY_NAMESPACE = (Address, Route, Rule, Neighbours)
_SHAPERS = (Shaper, ShaperClass, Filter)


class Elements(defaultdict[type, list[AnyElement]]):
    """Elements by their kind."""

    def __init__(self) -> None:
        super().__init__(list)

    def of(self, kind: type[T]) -> list[T]:
        """All of one kind."""
        return self.get(kind, [])  # type: ignore[return-value]


class Part(NamedTuple):
    """What can be made at the same time."""

    elements: Elements  # all but those of shapers
    shapers: dict[Place, DeviceParts]


def by_kind(plan: Plan) -> Elements:
    """The elements of a plan.

    Raises:
        KernelError: there is one among them that nobody can ask for.
    """
    elements = Elements()
    for element in plan.elements:
        elements[type(element)].append(element)
    for kind in (Unknown, Neighbour):  # which only readback and differences speak of
        if unknown := elements.get(kind):
            raise KernelError(f"no plan can ask for {subject(unknown[0])}")
    return elements


def divide(elements: Elements, order: Sequence[str]) -> list[Part]:
    """A part for each namespace.

    Args:
        elements: of a plan.
        order: its namespaces, as they will come.
    """
    when = {name: number for number, name in enumerate(order)}
    last = len(order) - 1
    devices = _devices(elements, when, last)
    complete = dict(when)
    for (namespace, _), number in devices.items():
        complete[namespace] = max(complete.get(namespace, last), number)
    parts = [Part(Elements(), {}) for _ in order]
    for kind, listed in elements.items():
        if kind in (Namespace, Sysctl, *_SHAPERS):
            continue
        for element, number in _numbered(kind, listed, devices, complete):
            parts[min(number, last)].elements[kind].append(element)
    shapers = shapers_by_device(elements.of(Shaper), elements.of(ShaperClass), elements.of(Filter))
    for place, shaper in shapers.items():
        parts[devices.get(place, last)].shapers[place] = shaper
    return parts


def merged(parts: Iterable[Part]) -> Part:
    """Several parts as one."""
    together = Part(Elements(), {})
    for elements, shapers in parts:
        for kind, listed in elements.items():
            together.elements[kind].extend(listed)
        together.shapers.update(shapers)
    return together


def _devices(elements: Elements, when: Mapping[str, int], last: int) -> dict[Place, int]:
    """The part that makes each device: a veth waits for the namespaces of both its ends."""
    devices: dict[Place, int] = {}
    alone: list[Bridge | Ifb] = [*elements.of(Bridge), *elements.of(Ifb)]
    for device in alone:
        devices[device.namespace, device.device] = when.get(device.namespace, last)
    for end in elements.of(Veth):
        ends = (end.namespace, end.peer_namespace)
        devices[end.namespace, end.device] = max(when.get(name, last) for name in ends)
    return devices


def _numbered(
    kind: type, listed: Iterable[AnyElement], devices: Mapping[Place, int],
    complete: Mapping[str, int],
) -> Iterator[tuple[AnyElement, int]]:  # fmt: skip
    """Elements of a kind, with the number of their part; what has no device comes last."""
    last = len(complete)
    for element in listed:
        if kind in _BY_NAMESPACE:
            yield element, complete.get(element.namespace, last)  # type: ignore[union-attr]
            continue
        number = devices.get((element.namespace, element.device), last)  # type: ignore[union-attr]
        if isinstance(element, Redirect):
            number = max(number, devices.get((element.namespace, element.target), last))
        yield element, number
