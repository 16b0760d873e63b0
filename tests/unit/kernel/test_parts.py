"""A plan in parts: nothing is asked for before what it needs, and all of it once."""

from __future__ import annotations

import itertools
import random

import pytest

from testbed.errors import KernelError
from testbed.kernel.parts import by_kind, divide, merged
from testbed.plan.compile import compile_plan
from testbed.plan.model import (
    Address,
    Bridge,
    Ifb,
    Namespace,
    Neighbour,
    Plan,
    Redirect,
    Route,
    Sysctl,
    Unknown,
    Veth,
)
from topologies.dualpath import DualPathTopo
from topologies.linear import LinearTopo
from topologies.single import SingleTopo


def plan_of(name: str) -> Plan:
    topologies = {
        "star": lambda: SingleTopo(5, 100.0),
        "line": lambda: LinearTopo(4),
        "cluster": lambda: DualPathTopo(prefill=1, decode=1, gpus=2),
    }
    return compile_plan(topologies[name]())


@pytest.mark.parametrize("name", ["star", "line", "cluster"])
@pytest.mark.parametrize("seed", range(5))
def test_whatever_the_order_nothing_comes_before_what_it_needs(name: str, seed: int) -> None:
    plan = plan_of(name)
    order = sorted(e.name for e in plan.elements if isinstance(e, Namespace))
    random.Random(seed).shuffle(order)
    seen, all_of_it = set(), []
    devices: dict[tuple[str, str], int] = {}
    for number, part in enumerate(divide(by_kind(plan), order)):
        there = set(order[: number + 1])
        elements = list(itertools.chain.from_iterable(part.elements.values()))
        for element in elements:
            if isinstance(element, Bridge | Ifb | Veth):
                devices[element.namespace, element.device] = number
                seen.add((element.namespace, element.device))
            if isinstance(element, Veth):
                assert element.peer_namespace in there
        for element in elements:
            assert element.namespace in there  # type: ignore[union-attr]
            if hasattr(element, "device"):
                assert (element.namespace, element.device) in seen  # type: ignore[union-attr]
            if isinstance(element, Redirect):
                assert (element.namespace, element.target) in seen
        for place, shaper in part.shapers.items():
            assert devices[place] == number  # a device is shaped before it is set up
            elements += shaper.each()
        all_of_it += elements
    expected = [e for e in plan.elements if not isinstance(e, Namespace | Sysctl)]
    assert len(all_of_it) == len(expected)
    assert set(all_of_it) == set(expected)


def test_addresses_and_routes_wait_for_all_devices_of_their_namespace() -> None:
    """A route's source may be an address of another device than its own."""
    plan = plan_of("cluster")
    order = sorted((e.name for e in plan.elements if isinstance(e, Namespace)), reverse=True)
    for number, part in enumerate(divide(by_kind(plan), order)):
        above = {e.namespace for kind in (Address, Route) for e in part.elements.of(kind)}
        later = divide(by_kind(plan), order)[number + 1 :]
        assert above.isdisjoint(v.namespace for p in later for v in p.elements.of(Veth))


def test_parts_together_are_the_whole() -> None:
    plan = plan_of("star")
    order = sorted(e.name for e in plan.elements if isinstance(e, Namespace))
    together = merged(divide(by_kind(plan), order))
    count = sum(map(len, together.elements.values()))
    count += sum(len(list(shaper.each())) for shaper in together.shapers.values())
    assert count == sum(not isinstance(e, Namespace | Sysctl) for e in plan.elements)


@pytest.mark.parametrize(
    "element",
    [Unknown("h1", "link", "vlan7", "of kind vlan"), Neighbour("h1", "eth0", "10.0.0.1", "02:00")],
)
def test_what_only_readback_speaks_of_cannot_be_asked_for(element: Unknown | Neighbour) -> None:
    with pytest.raises(KernelError, match="no plan can ask for"):
        by_kind(Plan(frozenset([element])))
