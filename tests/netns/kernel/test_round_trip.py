"""apply, then read: the same plan, whoever is asking."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
import pytest

from testbed.errors import KernelError
from testbed.kernel.apply import apply
from testbed.kernel.readback import read
from testbed.plan.compile import PlanSettings, compile_plan
from testbed.plan.diff import differences
from testbed.plan.model import Plan, Route, ShaperClass, Veth
from tests.netns.steps import STEPS
from topologies.dualpath import DualPathTopo

BringUp = Callable[[Plan], Mapping[str, int]]


def described(asked: Plan, nets: Mapping[str, int]) -> list[str]:
    return [difference.describe() for difference in differences(asked, read(nets))]


@pytest.mark.user
def test_star_reads_back_as_it_was_asked(star: Plan, bring_up: BringUp, host_links: None) -> None:
    assert described(star, bring_up(star)) == []


@pytest.mark.user
def test_cnic_reads_back_as_it_was_asked(cnic: Plan, bring_up: BringUp, host_links: None) -> None:
    assert described(cnic, bring_up(cnic)) == []


@pytest.mark.as_user
def test_an_ordinary_user_gets_the_same(cnic: Plan, bring_up: BringUp) -> None:
    assert described(cnic, bring_up(cnic)) == []


@pytest.mark.parametrize(
    ("prefill", "decode", "gpus"), [(1, 1, 8), (2, 1, 8), (1, 2, 8), (2, 4, 8)]
)
def test_presets_read_back_as_they_were_asked(
    prefill: int, decode: int, gpus: int, bring_up: BringUp
) -> None:
    plan = compile_plan(DualPathTopo(prefill=prefill, decode=decode, gpus=gpus))
    assert described(plan, bring_up(plan)) == []


@pytest.mark.parametrize("lanes", [True, False])
def test_links_inside_nodes_read_back_as_they_were_asked(lanes: bool, bring_up: BringUp) -> None:
    # pe0 ══ pcie0, pcie1 ══ pe0g0, pe0g1 ══ nvl ══ [pe0nv]
    topo = DualPathTopo(decode=2, gpus=2, nvlink_mbit=400, pcie_mbit=200)
    plan = compile_plan(topo, PlanSettings(lanes=lanes))
    assert described(plan, bring_up(plan)) == []


def test_a_leaf_may_be_deeper_than_its_device(star: Plan, bring_up: BringUp) -> None:
    plan = Plan(
        frozenset(
            msgspec.structs.replace(e, queue_packets=777)
            if isinstance(e, ShaperClass) and e.classid == 0x201
            else e
            for e in star.elements
        )
    )
    assert described(plan, bring_up(plan)) == []


@pytest.mark.parametrize("rate_bps", [8_000, 30_000_000_000, 34_359_738_360, 400_000_000_000])
def test_rates_beyond_32_bits_of_bytes_read_back(
    rate_bps: int, star: Plan, bring_up: BringUp
) -> None:
    plan = Plan(
        frozenset(
            msgspec.structs.replace(e, rate_bps=rate_bps, ceil_bps=rate_bps)
            if isinstance(e, ShaperClass)
            else e
            for e in star.elements
        )
    )
    assert described(plan, bring_up(plan)) == []


def test_the_steps_are_these_and_an_error_ends_them(
    star: Plan, create_networks: Callable[[Plan], Mapping[str, int]]
) -> None:
    class Injected(Exception):
        pass

    met = []
    for step in STEPS:

        def fail(name: str, at: str = step) -> None:
            met.append(name)
            if name == at:
                raise Injected

        with pytest.raises(Injected):
            apply(star, create_networks(star), before=fail)
    assert met[-len(STEPS) :] == list(STEPS)


def test_an_error_names_the_element_and_says_why(
    star: Plan, create_networks: Callable[[Plan], Mapping[str, int]]
) -> None:
    route = next(e for e in star.elements if isinstance(e, Route) and e.namespace == "h1")
    foreign = msgspec.structs.replace(route, source="10.99.0.1")
    plan = Plan(star.elements - {route} | {foreign})
    with pytest.raises(KernelError) as caught:
        apply(plan, create_networks(plan))
    assert "route 10.64.0.0/10 by h1-eth0 in table 254 of h1" in caught.value.message
    assert "Invalid prefsrc address" in caught.value.message


def test_a_refused_class_is_named_too(
    star: Plan, create_networks: Callable[[Plan], Mapping[str, int]]
) -> None:
    chosen = next(e for e in star.elements if isinstance(e, ShaperClass) and e.classid == 0x201)
    plan = Plan(star.elements - {chosen} | {msgspec.structs.replace(chosen, rate_bps=0)})
    with pytest.raises(KernelError) as caught:
        apply(plan, create_networks(plan))
    assert f"class 1:201 of {chosen.device} in {chosen.namespace}" in caught.value.message
    assert "Invalid argument" in caught.value.message


def test_a_plan_with_half_a_link_is_refused(
    star: Plan, create_networks: Callable[[Plan], Mapping[str, int]]
) -> None:
    end = next(e for e in star.elements if isinstance(e, Veth) and e.namespace == "h1")
    plan = Plan(star.elements - {end})
    with pytest.raises(KernelError, match="other end"):
        apply(plan, create_networks(plan))


def test_a_namespace_that_was_used_before_is_refused(star: Plan, bring_up: BringUp) -> None:
    nets = bring_up(star)
    with pytest.raises(KernelError, match="File exists") as caught:
        apply(star, nets)
    assert "fresh" in caught.value.hint
