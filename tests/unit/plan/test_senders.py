"""Who has a leaf of his own at which port, by a plan's own account of it."""

from __future__ import annotations

import pytest

from testbed.plan.compile import PlanSettings, compile_plan
from testbed.plan.model import Meter
from topologies.dualpath import DualPathTopo
from topologies.single import SingleTopo


def leaves(meter: Meter) -> list[tuple[str, ...]]:
    return list(meter.leaves.values())


def test_the_management_network_has_one_leaf_for_everybody() -> None:
    plan = compile_plan(DualPathTopo(prefill=2, decode=2, gpus=1))
    nodes = {"pe0", "pe1", "de0", "de1", "st0", "sched", "client"}
    incoming = [m for m in plan.meters if m.kind == "mgmt" and m.direction == "in"]
    assert {m.node for m in incoming} == nodes
    for meter in incoming:
        (shared,) = leaves(meter)
        assert set(shared) == {f"{name}/mgmt" for name in nodes - {meter.node}}


@pytest.mark.parametrize("topo", [DualPathTopo(gpus=2), SingleTopo(4, bw=100)])
def test_fifo_arbitration_has_one_leaf_in_each_lane(topo: DualPathTopo | SingleTopo) -> None:
    fair, fifo = (
        compile_plan(topo, PlanSettings(arbitration=arbitration))
        for arbitration in ("fair", "fifo")
    )
    assert any(len(leaves(meter)) > 1 for meter in fair.meters)
    assert all(len(leaves(meter)) == 1 for meter in fifo.meters)
    # It is the same senders that share it.
    everybody = [
        {name for leaf in leaves(meter) for name in leaf} for meter in (*fair.meters, *fifo.meters)
    ]
    assert everybody[: len(fair.meters)] == everybody[len(fair.meters) :]


def test_both_memory_ports_of_a_cnic_are_one_sender() -> None:
    plan = compile_plan(DualPathTopo(gpus=1))
    (write,) = (m for m in plan.meters if m.nic == "pe0/cnic0" and m.direction == "write")
    (read,) = (m for m in plan.meters if m.nic == "pe0/cnic0" and m.direction == "read")
    assert sorted(leaves(write)) == [("de0c0",), ("pe0c0",)]
    assert sorted(leaves(read)) == [("dram",), ("hbm",)]
