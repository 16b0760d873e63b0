"""Which links a calibration loads: every class, and no NIC twice at a time."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from mininet.topo import LinearTopo, SingleSwitchTopo

from testbed.fidelity.link_classes import Chosen, choose, class_of, flows_of
from testbed.plan.compile import compile_plan
from testbed.plan.model import Plan
from topologies.dualpath import DualPathTopo


class Shaped(SingleSwitchTopo):
    """A star whose links have a rate."""

    def addLink(self, a: str, b: str, **options: object) -> object:
        return super().addLink(a, b, bw=50, **options)


def classes(plan: Plan, chosen: Chosen) -> tuple[set[object], set[object]]:
    """All classes of a plan, and those that are filled or named as unfilled."""
    of = {(meter.nic, meter.direction): class_of(meter) for meter in plan.meters}
    filled = {of[nic] for each in chosen.rounds for filling in each for nic in filling.filled}
    return set(of.values()), filled | {of[nic] for nic in chosen.unfilled}


@settings(max_examples=10)
@given(
    prefill=st.integers(1, 2),
    decode=st.integers(1, 3),
    storage=st.integers(1, 2),
    gpus=st.integers(1, 3),
    inside=st.booleans(),
    storage_mbit=st.sampled_from([None, 50.0, 5000.0]),
)
def test_every_class_is_filled_or_named_and_no_round_uses_a_nic_twice(
    prefill: int, decode: int, storage: int, gpus: int, inside: bool, storage_mbit: float | None
) -> None:
    more = {"nvlink_mbit": 400.0, "pcie_mbit": 300.0} if inside else {}
    plan = compile_plan(
        DualPathTopo(
            prefill=prefill, decode=decode, storage=storage, gpus=gpus, storage_mbit=storage_mbit,
            **more,
        )
    )  # fmt: skip
    chosen = choose(plan)
    wanted, treated = classes(plan, chosen)
    assert treated == wanted
    rates = {(meter.nic, meter.direction): meter.rate_bps for meter in plan.meters}
    for each in chosen.rounds:
        used = [nic for filling in each for nic in filling.nics]
        assert len(used) == len(set(used))
        for filling in each:
            for nic, flows in filling.crossing.items():
                assert flows and max(flows) < len(filling.flows)
                assert nic not in filling.filled or rates[nic] <= filling.rate_bps * 1.01
            assert filling.filled <= set(filling.crossing) <= filling.nics


def test_the_shipped_cluster_takes_three_rounds() -> None:
    """st0 ══ pe0, de0 (2 engines each), 100 Mbit"""
    chosen = choose(compile_plan(DualPathTopo(gpus=2)))
    assert len(chosen.rounds) == 3
    assert chosen.unfilled == {}
    flows = {(f.source, f.target) for each in chosen.rounds for f in flows_of(each)}
    assert {("st0", "pe0"), ("st0", "de0"), ("pe0", "st0"), ("pe0", "pe0g0")} <= flows


def test_a_star_is_one_class_each_way() -> None:
    """h1, h2, h3 ── s1, 50 Mbit: one flow fills both directions"""
    chosen = choose(compile_plan(Shaped(3)))
    ((filling,),) = chosen.rounds
    assert len(filling.flows) == 1
    assert {direction for _, direction in filling.filled} == {"in", "out"}


def test_storage_that_is_never_the_bottleneck_is_named_as_such() -> None:
    chosen = choose(compile_plan(DualPathTopo(gpus=1, storage_mbit=5000)))
    assert chosen.unfilled["st0/snic0", "out"] == "its peers carry 4% of its rate"


def test_a_host_alone_on_its_switch_has_nobody_to_send_to() -> None:
    """h1 ── s1 ── s2 ── h2: two switches; unshaped links have no meter at all"""
    assert choose(compile_plan(LinearTopo(2))) == Chosen([], {})
