"""Compiled plans, checked by walking frames and classifying packets as the kernel would."""

from __future__ import annotations

import ipaddress
import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mininet.topo import LinearTopo, SingleSwitchTopo, Topo
from mininet.topolib import TreeTopo

from testbed.errors import TopologyError, UnsupportedError
from testbed.plan.addresses import MAIN_TABLE, mac_of
from testbed.plan.compile import PlanSettings, compile_plan
from testbed.plan.graph import IgnoredOptionWarning
from testbed.plan.lanes import KV_LANE, MODEL_LANE, Prefix, address_int, choose_leaves
from testbed.plan.model import (
    Bridge,
    FdbEntry,
    Filter,
    Ifb,
    Neighbours,
    Plan,
    Port,
    Route,
    Shaper,
    ShaperClass,
    Veth,
    decode,
    encode,
    key,
)
from testbed.plan.nic import FABRIC
from topologies.dualpath import DualPathTopo
from topologies.single import SingleTopo

CLUSTERS = st.builds(
    DualPathTopo,
    prefill=st.integers(1, 2),
    decode=st.integers(1, 3),
    storage=st.integers(1, 2),
    gpus=st.integers(1, 2),
    nvlink_mbit=st.sampled_from([None, 400.0]),
    pcie_mbit=st.sampled_from([None, 200.0]),
)


class Spines(Topo):
    """h1, h2 -- leaf1 -- spine1, spine2 -- leaf2 -- h3, h4: two loops."""

    def build(self) -> None:
        spines = [self.addSwitch(f"sp{n}") for n in (1, 2)]
        for number in (1, 2):
            leaf = self.addSwitch(f"lf{number}")
            for spine in spines:
                self.addLink(leaf, spine, bw=100)
            for host in (2 * number - 1, 2 * number):
                self.addLink(self.addHost(f"h{host}"), leaf, bw=100)


def of(plan: Plan, kind: type) -> list:  # type: ignore[type-arg]
    return [element for element in plan.elements if isinstance(element, kind)]


def reaches(plan: Plan, domain: str, device: str, mac: str) -> str:
    """The domain that a frame from a port to a MAC ends in; "" if it is dropped, or loops."""
    peers = {(v.namespace, v.device): (v.peer_namespace, v.peer_device) for v in of(plan, Veth)}
    bridges = {p.device: p for p in of(plan, Port)}
    known = {(f.device, f.mac) for f in of(plan, FdbEntry)}
    at = peers[domain, device]
    for _ in range(64):
        if at[0] != "fabric":
            return at[0]
        bridge = bridges[at[1]].bridge
        others = [p for p in bridges.values() if p.bridge == bridge and p.device != at[1]]
        ways = [p.device for p in others if (p.device, mac) in known]
        if not any((p.device, mac) in known for p in bridges.values() if p.bridge == bridge):
            ways = [p.device for p in others if p.flood]
        if len(ways) != 1:
            return ""
        at = peers["fabric", ways[0]]
    return ""


def everybody_reaches_their_neighbours(plan: Plan) -> bool:
    owners = {
        mac_of(address): name
        for name, domain in plan.domains.items()
        for address in domain.addresses.values()
    }
    return all(
        reaches(plan, n.namespace, n.device, mac) == owners[mac]
        for n in of(plan, Neighbours)
        for _, mac in n.entries
    )


def classify(plan: Plan, namespace: str, device: str, tos: int, source: int) -> list[int]:
    """The leaves that a packet's filters lead to: HTB follows the chain of an inner class."""
    filters = sorted(
        (f for f in of(plan, Filter) if (f.namespace, f.device) == (namespace, device)),
        key=lambda f: (f.parent, f.priority, f.handle),
    )

    def matches(parent: int) -> list[int]:
        return [
            f.classid
            for f in filters
            if f.parent == parent
            and tos & f.tos_mask == f.tos
            and source & f.source_mask == f.source
        ]

    lane = matches(0)[0]
    return matches(lane)


def routed(plan: Plan, domain: str, address: str) -> str:
    """The device that an unbound socket of a domain reaches an address by."""
    ways = [
        (ipaddress.IPv4Network(route.destination), route.device)
        for route in of(plan, Route)
        if (route.namespace, route.table) == (domain, MAIN_TABLE)
    ]
    fitting = [
        (net.prefixlen, device) for net, device in ways if ipaddress.ip_address(address) in net
    ]
    return max(fitting)[1] if fitting else ""


class Mixed(Topo):
    """h1, h2 -- s1 == s2 -- h3, all shaped; h1 == h2 directly; h3 -- s1 as well."""

    def build(self) -> None:
        one, two, three = (self.addHost(f"h{number}") for number in (1, 2, 3))
        left, right = self.addSwitch("s1"), self.addSwitch("s2")
        for a, b in ((one, left), (two, left), (left, right), (three, right), (three, left)):
            self.addLink(a, b, bw=100)
        self.addLink(one, two, bw=10)


def test_hosts_may_be_linked_directly_and_twice() -> None:
    plan = compile_plan(Mixed())
    assert everybody_reaches_their_neighbours(plan)
    rates = {(m.namespace, m.device): m.rate_bps for m in plan.meters}
    assert rates["h1", "h1-eth1"] == rates["h2", "h2-eth1"] == 10_000_000
    assert ("fabric", "s1-eth3") in rates and ("fabric", "s2-eth1") in rates


@pytest.mark.parametrize(
    "topo",
    [SingleSwitchTopo(5), LinearTopo(3, 2), TreeTopo(2, 3), Spines()],
    ids=lambda topo: type(topo).__name__,
)
def test_all_pairs_of_any_topology_reach_each_other(topo: Topo) -> None:
    plan = compile_plan(topo)
    hosts = len(plan.domains)
    assert sum(len(n.entries) for n in of(plan, Neighbours)) == hosts * (hosts - 1)
    assert everybody_reaches_their_neighbours(plan)


@settings(max_examples=4)
@given(CLUSTERS)
def test_every_port_of_a_cluster_reaches_its_whole_network(topo: DualPathTopo) -> None:
    plan = compile_plan(topo)
    assert everybody_reaches_their_neighbours(plan)
    storage = [d for d in plan.domains.values() if "snic0" in d.addresses]
    compute = {
        mac_of(a) for d in plan.domains.values() for n, a in d.addresses.items() if "cnic" in n
    }
    for domain in storage:  # the storage fabric knows no way to the compute fabric
        assert all(reaches(plan, domain.name, "snic0", mac) == "" for mac in compute)


@settings(max_examples=4)
@given(CLUSTERS)
def test_every_sender_has_one_leaf_in_each_lane_of_every_shaper(topo: DualPathTopo) -> None:
    plan = compile_plan(topo, PlanSettings(leaves=4))
    addresses = {
        (name, device): address
        for name, domain in plan.domains.items()
        for device, address in domain.addresses.items()
    }
    classes = {(c.namespace, c.device, c.classid): c for c in of(plan, ShaperClass)}
    for meter in plan.meters:
        if meter.kind != "cnic" or meter.direction != "write":
            continue
        senders = [a for (_, device), a in addresses.items() if device.startswith("cnic")]
        for tos, lane in ((0xB8, MODEL_LANE), (0x20, KV_LANE), (0x00, KV_LANE)):
            for address in senders:
                found = classify(plan, meter.namespace, meter.device, tos, address_int(address))
                assert len(found) == 1
                leaf = classes[meter.namespace, meter.device, found[0]]
                assert leaf.parent == lane


@pytest.mark.parametrize("hosts", [5, 40])
def test_a_plain_port_has_leaves_by_sender_in_the_kv_lane_and_one_in_the_model_lane(
    hosts: int,
) -> None:
    # h1, …, hk ── s1, shaped; 16 leaves at most
    plan = compile_plan(SingleTopo(hosts, 100.0))
    chains: dict[tuple[str, int], list[Filter]] = {}
    for each in of(plan, Filter):
        if each.namespace == FABRIC:
            chains.setdefault((each.device, each.parent), []).append(each)
    ports = {device for device, _ in chains}
    assert len(ports) == hosts
    for device in ports:
        assert [f.source_mask for f in chains[device, MODEL_LANE]] == [0]
        assert len(chains[device, KV_LANE]) == min(hosts - 1, 16)
    if hosts > 16:  # ports of one network use the same bits of the address
        assert len({f.source_mask for p in ports for f in chains[p, KV_LANE]}) == 1
    for meter in plan.meters:
        if meter.direction == "in":
            named = sorted(name for names in meter.leaves.values() for name in names)
            others = {f"h{n}" for n in range(1, hosts + 1)} - {meter.node}
            assert named == sorted(f"{name}/{name}-eth0" for name in others)


def test_gpus_of_a_node_reach_each_other_by_nvlink_and_their_dram_by_pcie() -> None:
    # pe0 ══ pcie{k} ══ pe0g{k} ══ nvl ══ [pe0nv]; de0, de1 alike
    plan = compile_plan(DualPathTopo(decode=2, gpus=3, nvlink_mbit=400, pcie_mbit=200))
    domains = plan.domains
    for name, domain in domains.items():
        if domain.kind != "hbm":
            continue
        for peer in domains.values():
            if peer.kind != "hbm" or peer.name == name:
                continue
            together = peer.node == domain.node
            frame = reaches(plan, name, "nvl", mac_of(peer.addresses["nvl"]))
            assert frame == (peer.name if together else "")
            assert routed(plan, name, peer.addresses["nvl"]) == "nvl"
            assert routed(plan, name, peer.addresses[f"cnic{peer.name[-1]}"]).startswith("cnic")
        rail = name[-1]
        node = domains[domain.node]
        assert routed(plan, node.name, domain.addresses["pcie"]) == f"pcie{rail}"
        assert routed(plan, name, node.addresses[f"pcie{rail}"]) == "pcie"
        assert reaches(plan, name, "pcie", mac_of(node.addresses[f"pcie{rail}"])) == node.name
    ends = {(m.direction, m.namespace, m.device) for m in plan.meters if m.nic == "de1/pcie2"}
    assert ends == {("out", "de1", "pcie2"), ("in", "de1g2", "pcie")}
    assert all("model" not in m.lanes for m in plan.meters if m.kind == "pcie")
    nvlink = [m for m in plan.meters if m.kind == "nvlink"]
    assert {m.nic for m in nvlink} == {
        f"{n}g{k}/nvl" for n in ("pe0", "de0", "de1") for k in range(3)
    }
    assert all(m.rate_bps == 400_000_000 and "model" in m.lanes for m in nvlink)


def test_without_lanes_every_mark_is_in_the_kv_lane() -> None:
    plan = compile_plan(DualPathTopo(gpus=2, nvlink_mbit=400), PlanSettings(lanes=False))
    classes = {(c.namespace, c.device, c.classid): c for c in of(plan, ShaperClass)}
    assert not any(classid == MODEL_LANE for _, _, classid in classes)
    for meter in plan.meters:
        assert meter.lanes.keys() == {"kv", "unclassified"}
        if (meter.kind, meter.direction) != ("cnic", "write"):
            continue
        for source in (
            a for d in plan.domains.values() for n, a in d.addresses.items() if "cnic" in n
        ):
            leaves = {
                tuple(classify(plan, meter.namespace, meter.device, tos, address_int(source)))
                for tos in (0xB8, 0x20, 0x00)
            }
            ((leaf,),) = leaves  # one and the same
            assert classes[meter.namespace, meter.device, leaf].parent == KV_LANE


@settings(max_examples=4)
@given(CLUSTERS, st.booleans())
@example(topo=DualPathTopo(gpus=1, nvlink_mbit=400.0, pcie_mbit=200.0), lanes=True)
def test_shapers_are_sound(topo: DualPathTopo, lanes: bool) -> None:
    plan = compile_plan(topo, PlanSettings(lanes=lanes))
    classes: dict[tuple[str, str], dict[int, ShaperClass]] = {}
    for c in of(plan, ShaperClass):
        classes.setdefault((c.namespace, c.device), {})[c.classid] = c
    for shaper in of(plan, Shaper):
        mine = classes[shaper.namespace, shaper.device]
        parents = {c.parent for c in mine.values()}
        assert shaper.default_class not in parents  # an inner default lets everything through
        for parent in parents - {0}:
            below = [c for c in mine.values() if c.parent == parent]
            assert sum(c.rate_bps for c in below) <= mine[parent].rate_bps
            assert all(c.ceil_bps == mine[1].rate_bps for c in below)
        leaves = [c for n, c in mine.items() if n not in parents]
        assert all(c.queue_packets > 0 for c in leaves)
        # Only the line has the line's burst: those of leaves would add up.
        assert all(c.ceil_burst_ticks <= mine[1].ceil_burst_ticks * 2 for c in leaves)
    for meter in plan.meters:  # a lane that is metered is there, and no other
        mine = classes[meter.namespace, meter.device]
        assert sorted(meter.lanes.values()) == sorted(n for n, c in mine.items() if c.parent == 1)


@settings(max_examples=4)
@given(CLUSTERS)
def test_nothing_is_there_twice(topo: DualPathTopo) -> None:
    plan = compile_plan(topo)
    keys = [key(element) for element in plan.elements]
    assert len(keys) == len(set(keys))
    devices = [e for kind in (Veth, Ifb, Bridge) for e in of(plan, kind)]
    macs = [device.mac for device in devices]
    assert len(macs) == len(set(macs))
    assert decode(encode(plan)) == plan


def test_sixteen_senders_have_sixteen_leaves_and_forty_eight_share_evenly() -> None:
    few = {f"h{n}": Prefix(address_int(f"10.0.0.{n}"), 0xFFFFFFFF) for n in range(1, 17)}
    assert [len(leaf.senders) for leaf in choose_leaves(few, 16)] == [1] * 16
    many = {
        f"n{node}c{rail}": Prefix(address_int(f"10.{64 + rail}.{node}.1"), 0xFFFFFF00)
        for node, rail in itertools.product(range(6), range(8))
    }
    leaves = choose_leaves(many, 16)
    assert [len(leaf.senders) for leaf in leaves] == [3] * 16
    assert [len(leaf.senders) for leaf in choose_leaves(many, 1)] == [48]


def _topo(**link: object) -> Topo:
    """h1 - h2, with options on the link."""
    topo = Topo()
    topo.addHost("h1")
    topo.addHost("h2")
    topo.addLink("h1", "h2", **link)
    return topo


@pytest.mark.parametrize(
    ("topo", "error", "says"),
    [
        (_topo(delay="5ms"), UnsupportedError, "netem"),
        (_topo(bw="100Mbit"), TopologyError, "plain number"),
        (_topo(bw=-1), TopologyError, "bw=-1"),
        (_topo(speed=3), TopologyError, "speed"),
        (Topo(), TopologyError, "no hosts"),
        (SingleSwitchTopo(10_001), TopologyError, "no machine holds more than 10000"),
    ],
)
def test_what_makes_no_sense_is_refused(topo: Topo, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        compile_plan(topo)


def test_a_name_that_linux_cannot_hold_is_refused() -> None:
    topo = Topo()
    topo.addSwitch("s1")
    topo.addHost("a-rather-long-host")
    topo.addLink("a-rather-long-host", "s1")
    with pytest.raises(TopologyError, match="15 bytes"):
        compile_plan(topo)


def test_an_nvlink_switch_between_nodes_is_refused() -> None:
    topo = Topo()
    topo.addSwitch("nv", fabric="nvlink")
    for node in ("pe0", "pe1"):
        topo.addHost(node, memory="dram", role="prefill")
        topo.addHost(f"{node}g0", memory="hbm", of=node, rail=0)
        topo.addLink(node, f"{node}g0", bw=100)
        topo.addLink(f"{node}g0", "nv", bw=100)
    with pytest.raises(TopologyError, match="NVLink switch nv"):
        compile_plan(topo)


def test_pcie_without_a_rate_is_refused() -> None:
    topo = Topo()
    topo.addHost("pe0", memory="dram", role="prefill")
    topo.addHost("pe0g0", memory="hbm", of="pe0", rail=0)
    topo.addLink("pe0", "pe0g0")
    with pytest.raises(TopologyError, match="PCIe link pe0 - pe0g0 has no rate"):
        compile_plan(topo)


def test_a_cnic_without_its_three_links_is_refused() -> None:
    topo = Topo()
    topo.addHost("pe0", memory="dram", role="prefill")
    topo.addSwitch("pe0c0", nic="cnic", rail=0, bw=100)
    topo.addLink("pe0", "pe0c0")
    with pytest.raises(TopologyError, match="one link each"):
        compile_plan(topo)


class Asking(Topo):
    """h1 -- s1 -- h2, with options of Mininet's own."""

    def build(self, host: dict[str, object], link: dict[str, object], name: str = "h1") -> None:
        self.addLink(self.addHost(name, **host), self.addSwitch("s1"), **link)
        self.addLink(self.addHost("h2"), "s1")


@pytest.mark.parametrize(
    ("host", "link", "option"),
    [
        ({"ip": "192.168.7.1/24"}, {}, "ip="),
        ({"mac": "02:00:00:00:00:09"}, {}, "mac="),
        ({}, {"bw": 10, "max_queue_size": 100}, "max_queue_size="),
        ({}, {"bw": 10, "use_htb": True}, "use_htb="),
    ],
)
def test_what_has_no_effect_is_said(
    host: dict[str, object], link: dict[str, object], option: str
) -> None:
    with pytest.warns(IgnoredOptionWarning, match=option):
        compile_plan(Asking(host, link))


def test_an_option_that_says_nothing_is_no_option() -> None:
    plain = compile_plan(Asking({}, {"bw": 10}))
    assert compile_plan(Asking({"ip": None}, {"bw": 10, "delay": None, "loss": 0})) == plain


@pytest.mark.parametrize("name", ["a/b", "..", "-x", "hé", ""])
def test_names_that_are_none_are_refused(name: str) -> None:
    with pytest.raises(TopologyError, match="name"):
        compile_plan(Asking({}, {}, name))


@pytest.mark.parametrize("bw", [float("nan"), float("inf"), -1])
def test_rates_that_are_none_are_refused(bw: float) -> None:
    with pytest.raises(TopologyError, match="bw="):
        compile_plan(Asking({}, {"bw": bw}))


def test_an_option_without_effect_is_told_with_its_own_reason() -> None:
    topo = Topo()
    topo.addHost("h1", ip="10.9.9.9/8", cpu=0.5)
    topo.addHost("h2")
    topo.addLink("h1", "h2", max_queue_size=10)
    with pytest.warns(UserWarning) as said:
        compile_plan(topo)
    assert {str(one.message) for one in said} == {
        "ip= of h1 has no effect here: addresses are numbered by the testbed",
        "cpu= of h1 has no effect here: programs share the machine's processors",
        "max_queue_size= of h1-h2 has no effect here: links are HTB queues of one depth",
    }
