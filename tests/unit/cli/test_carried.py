"""What NICs have carried, as `testbed inspect` shows it."""

from __future__ import annotations

import pytest
from mininet.topo import Topo

from testbed.cli.carried import carried, carried_lines
from testbed.kernel.samples import LaneSample, LinkSample, MeterSample
from testbed.plan.compile import compile_plan
from testbed.plan.model import Plan
from topologies.dualpath import DualPathTopo


class Mixed(Topo):
    """h1 ══ s1 ── h2: one link is shaped."""

    def build(self) -> None:
        switch = self.addSwitch("s1")
        self.addLink(self.addHost("h1"), switch, bw=100)
        self.addLink(self.addHost("h2"), switch)


def samples(plan: Plan, packets: int) -> list[MeterSample]:
    lanes = {"kv": LaneSample(1024 * packets, packets, 0), "model": LaneSample(0, 0, 0)}
    return [
        MeterSample(
            1.0, m.nic, m.kind, m.node, m.role, m.direction, m.rate_bps, 1024 * packets, packets,
            0, 0, 0, 0, 0, 0, 0, lanes,
        )
        for m in plan.meters
    ]  # fmt: skip


@pytest.fixture
def mixed() -> Plan:
    return compile_plan(Mixed())


def test_shaped_nics_are_by_lane_and_unshaped_ones_by_device(mixed: Plan) -> None:
    links = {
        "h1": {"h1-eth0": LinkSample(1, 1, 0, 0, 2, 1, 0, 0)},
        "h2": {"h2-eth0": LinkSample(300, 3, 0, 0, 2048, 2, 0, 1)},
        "fabric": {"s1": LinkSample(0, 0, 0, 0, 0, 0, 0, 0)},
    }
    found = carried(mixed, samples(mixed, 3), links)
    assert {(each["nic"], each["direction"], each["bytes"]) for each in found} == {
        ("h1/h1-eth0", "out", 3072), ("h1/h1-eth0", "in", 3072),
        ("h2/h2-eth0", "out", 2048), ("h2/h2-eth0", "in", 300),
    }  # fmt: skip
    header, *rows = (line.split() for line in carried_lines(found))
    assert header == ["NIC", "direction", "all", "kv", "lane", "model", "lane", "queued", "drops"]
    assert ["h1/h1-eth0", "out", "3KiB", "3KiB", "0B", "0B", "0"] in rows
    assert ["h2/h2-eth0", "out", "2KiB", "–", "–", "–", "1"] in rows


def test_the_ports_of_a_cnic_are_not_counted_beside_it() -> None:
    plan = compile_plan(DualPathTopo(gpus=1))
    one = LinkSample(1, 1, 0, 0, 1, 1, 0, 0)
    links = {name: dict.fromkeys(domain.addresses, one) for name, domain in plan.domains.items()}
    found = carried(plan, samples(plan, 0), links)
    assert {each["kind"] for each in found} == {"snic", "cnic", "mgmt"}
    assert carried_lines(found) == ["nothing yet"]


def test_nics_that_carried_nothing_are_only_counted(mixed: Plan) -> None:
    links = {"h2": {"h2-eth0": LinkSample(300, 3, 0, 0, 0, 0, 0, 0)}}
    lines = carried_lines(carried(mixed, samples(mixed, 0), links))
    assert lines[1].split()[0] == "h2/h2-eth0"
    assert lines[2:] == ["nothing on the other 3 directions"]
