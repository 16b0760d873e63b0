"""Differences between plans: what is named, and how."""

from __future__ import annotations

from testbed.plan.diff import differences
from testbed.plan.model import (
    Address,
    AnyElement,
    Namespace,
    Neighbours,
    Plan,
    Route,
    Unknown,
)

ADDRESS = Address("pe0", "snic0", "10.1.0.1", 32)
ROUTE = Route("pe0", 254, "10.1.0.0/16", "snic0", "10.1.0.1", 10_000)


def plan(*elements: AnyElement) -> Plan:
    return Plan(frozenset(elements))


def told(asked: Plan, found: Plan) -> list[tuple[str, tuple[object, ...], str]]:
    return [(d.kind, d.name, d.field) for d in differences(asked, found)]


def test_equal_plans_differ_in_nothing_whatever_else_they_say() -> None:
    named = Plan(frozenset([ADDRESS, ROUTE]), topology="single", parameters={"k": 2})
    assert differences(named, plan(ROUTE, ADDRESS)) == []


def test_what_is_missing_and_what_is_extra_is_named() -> None:
    assert told(plan(ADDRESS, ROUTE), plan(ROUTE)) == [
        ("missing", ("address", "pe0", "snic0", "10.1.0.1"), "")
    ]
    assert told(plan(ROUTE), plan(ADDRESS, ROUTE)) == [
        ("extra", ("address", "pe0", "snic0", "10.1.0.1"), "")
    ]


def test_a_changed_object_is_named_with_each_field_that_differs() -> None:
    other = Route("pe0", 254, "10.1.0.0/16", "mgmt", "10.1.0.1", 200)
    found = differences(plan(ROUTE), plan(other))
    assert [(d.kind, d.field, d.asked, d.found) for d in found] == [
        ("changed", "device", "snic0", "mgmt"),
        ("changed", "rto_min_ms", 10_000, 200),
    ]
    assert found[1].describe() == (
        "route pe0 254 10.1.0.0/16: rto_min_ms is 200, asked for was 10000"
    )


def test_of_two_objects_of_one_name_none_goes_unsaid() -> None:
    """The kernel may hold two where a plan holds one: addresses differ in their prefix too."""
    twins = [Address("pe0", "snic0", "10.1.0.1", length) for length in (24, 16)]
    kinds = [d.kind for d in differences(plan(ADDRESS), plan(*twins))]
    assert sorted(kinds) == ["changed", "extra"]


def test_neighbours_are_named_one_by_one() -> None:
    asked = Neighbours("h1", "h1-eth0", frozenset({("10.0.0.2", "02:02"), ("10.0.0.3", "02:03")}))
    found = Neighbours(
        "h1",
        "h1-eth0",
        frozenset({("10.0.0.2", "02:02"), ("10.0.0.3", "02:ff"), ("10.0.0.4", "02:04")}),
    )
    assert told(plan(asked), plan(found)) == [
        ("changed", ("neighbour", "h1", "h1-eth0", "10.0.0.3"), "mac"),
        ("extra", ("neighbour", "h1", "h1-eth0", "10.0.0.4"), ""),
    ]
    assert [d.kind for d in differences(plan(asked), plan())] == ["missing", "missing"]


def test_what_no_plan_can_ask_for_is_extra_and_shown() -> None:
    (found,) = differences(plan(), plan(Unknown("pe0", "qdisc", "sfq of snic0", "below ffff")))
    assert found.kind == "extra"
    assert "sfq of snic0" in found.describe()


def test_differences_come_in_the_order_of_their_names() -> None:
    spaces = [Namespace(name) for name in ("b", "c", "a")]
    assert [name[1] for _, name, _ in told(plan(*spaces), plan())] == ["a", "b", "c"]
