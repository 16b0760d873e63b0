"""Which port a packet leaves by: that of its destination, or of the address it is sent from."""

from __future__ import annotations

from mininet.topo import Topo

from testbed.plan.addresses import MAIN_TABLE
from testbed.plan.compile import compile_plan
from testbed.plan.model import Plan, Route, Rule
from topologies.dualpath import DualPathTopo


def routes(plan: Plan, domain: str) -> set[tuple[int, str, str, str]]:
    """(table, destination, device, source)"""
    return {
        (r.table, r.destination, r.device, r.source)
        for r in plan.elements
        if isinstance(r, Route) and r.namespace == domain
    }


def rules(plan: Plan, domain: str) -> set[tuple[str, int]]:
    """(source, table)"""
    return {
        (r.source, r.table) for r in plan.elements if isinstance(r, Rule) and r.namespace == domain
    }


def test_in_dram_bind_chooses_the_cnic_and_without_it_the_destinations_rail() -> None:
    plan = compile_plan(DualPathTopo(gpus=2))
    own = plan.domains["pe0"].addresses
    found = routes(plan, "pe0")
    for rail in (0, 1):
        address = own[f"cnic{rail}"]
        assert (MAIN_TABLE, f"10.{64 + rail}.0.0/16", f"cnic{rail}", address) in found
        assert (100 + rail, "10.64.0.0/10", f"cnic{rail}", address) in found
    assert rules(plan, "pe0") == {(f"{own['cnic0']}/32", 100), (f"{own['cnic1']}/32", 101)}


def test_hbm_has_one_way_out() -> None:
    plan = compile_plan(DualPathTopo(gpus=2))
    address = plan.domains["pe0g1"].addresses["cnic1"]
    assert routes(plan, "pe0g1") == {(MAIN_TABLE, "10.64.0.0/10", "cnic1", address)}
    assert rules(plan, "pe0g1") == set()


class Twice(Topo):
    """h1 == s1 -- h2 by two links; h1 -- h3 directly."""

    def build(self) -> None:
        one, two, three = (self.addHost(f"h{number}") for number in (1, 2, 3))
        switch = self.addSwitch("s1")
        for a, b in ((one, switch), (one, switch), (two, switch), (one, three)):
            self.addLink(a, b, bw=100)


def test_a_plain_hosts_first_link_is_its_way_unless_only_another_leads_there() -> None:
    plan = compile_plan(Twice())
    own, far = plan.domains["h1"].addresses, plan.domains["h3"].addresses
    main = {each[1:3] for each in routes(plan, "h1") if each[0] == MAIN_TABLE}
    (third,) = far.values()
    assert main == {("10.0.0.0/8", "h1-eth0"), (f"{third}/32", "h1-eth2")}
    assert rules(plan, "h1") == {(f"{own['h1-eth1']}/32", 100), (f"{own['h1-eth2']}/32", 101)}
