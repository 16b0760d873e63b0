"""The fast readers see what pyroute2 sees, in a cluster that holds every kind of object."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import IPRoute

from testbed.kernel.namespaces import inside
from testbed.kernel.readback import read
from testbed.plan.model import (
    Address,
    FdbEntry,
    Filter,
    Ifb,
    Neighbours,
    Plan,
    Route,
    Rule,
    ShaperClass,
    Veth,
    burst_ticks,
)

BringUp = Callable[[Plan], Mapping[str, int]]


@contextmanager
def asking(net: int) -> Iterator[Any]:
    with inside(net), IPRoute() as ip:
        yield ip


def names(ip: Any) -> dict[int, str]:
    return {link["index"]: link.get_attr("IFLA_IFNAME") for link in ip.get_links()}


def of(plan: Plan, kind: type, namespace: str) -> set[Any]:
    return {e for e in plan.elements if isinstance(e, kind) and e.namespace == namespace}


@pytest.fixture
def everything(cnic: Plan) -> Plan:
    return cnic


def test_links(everything: Plan, bring_up: BringUp) -> None:
    nets = bring_up(everything)
    found = read(nets)
    with asking(nets["fabric"]) as ip:
        theirs = {
            (
                link.get_attr("IFLA_IFNAME"), link.get_attr("IFLA_ADDRESS"),
                link.get_attr("IFLA_MTU"), link.get_attr("IFLA_GSO_MAX_SIZE"),
                link.get_attr("IFLA_TXQLEN"), bool(link["flags"] & 1),
            )
            for link in ip.get_links()
            if link.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") in ("veth", "ifb")
        }  # fmt: skip
    ours = {
        (d.device, d.mac, d.mtu, d.gso_max_bytes, d.txqueuelen, d.up)
        for d in of(found, Veth, "fabric") | of(found, Ifb, "fabric")
    }
    assert ours == theirs
    assert len(ours) == 4


def test_addresses_routes_and_rules(everything: Plan, bring_up: BringUp) -> None:
    nets = bring_up(everything)
    found = read(nets)
    with asking(nets["dram"]) as ip:
        devices = names(ip)
        addresses = {
            (devices[a["index"]], a.get_attr("IFA_LOCAL"), a["prefixlen"])
            for a in ip.get_addr()
            if devices[a["index"]] != "lo"
        }
        routes = {
            (
                r.get_attr("RTA_TABLE"), f"{r.get_attr('RTA_DST')}/{r['dst_len']}",
                devices[r.get_attr("RTA_OIF")], r.get_attr("RTA_PREFSRC"),
                r.get_attr("RTA_METRICS").get_attr("RTAX_RTO_MIN"),
            )
            for r in ip.get_routes(family=socket.AF_INET)
            if r.get_attr("RTA_TABLE") != 255
        }  # fmt: skip
        rules = {
            (r.get_attr("FRA_PRIORITY"), f"{r.get_attr('FRA_SRC')}/{r['src_len']}",
             r.get_attr("FRA_TABLE"))
            for r in ip.get_rules(family=socket.AF_INET)
            if r["src_len"]
        }  # fmt: skip
    assert addresses == {(a.device, a.address, a.prefix_len) for a in of(found, Address, "dram")}
    assert routes == {
        (r.table, r.destination, r.device, r.source, r.rto_min_ms) for r in of(found, Route, "dram")
    }
    assert rules == {(r.priority, r.source, r.table) for r in of(found, Rule, "dram")}
    assert addresses and routes and rules


def test_neighbours_and_forwarding(everything: Plan, bring_up: BringUp) -> None:
    nets = bring_up(everything)
    found = read(nets)
    with asking(nets["dram"]) as ip:
        devices = names(ip)
        neighbours = {
            (devices[n["ifindex"]], n.get_attr("NDA_DST"), n.get_attr("NDA_LLADDR"))
            for n in ip.get_neighbours(family=socket.AF_INET)
            if n["state"] == 0x80
        }
    with asking(nets["fabric"]) as ip:
        devices = names(ip)
        entries = {
            (devices[n["ifindex"]], n.get_attr("NDA_LLADDR"))
            for n in ip.get_neighbours(family=socket.AF_BRIDGE)
            if n["state"] == 0x40
        }
    assert neighbours == {
        (n.device, *entry) for n in of(found, Neighbours, "dram") for entry in n.entries
    }
    assert entries == {(e.device, e.mac) for e in of(found, FdbEntry, "fabric")}
    assert neighbours and entries


def test_classes(everything: Plan, bring_up: BringUp) -> None:
    nets = bring_up(everything)
    found = read(nets)
    theirs = set()
    with asking(nets["fabric"]) as ip:
        for index, name in names(ip).items():
            if name not in ("nic0-read", "nic0-write"):
                continue
            for each in ip.get_classes(index):
                options = each.get_attr("TCA_OPTIONS")
                parms = options.get_attr("TCA_HTB_PARMS")
                theirs.add((
                    name, each["handle"] & 0xFFFF, parms["rate"] * 8, parms["ceil"] * 8,
                    parms["buffer"], parms["cbuffer"], parms["quantum"], parms["prio"],
                ))  # fmt: skip
    ours = {
        (c.device, c.classid, c.rate_bps, c.ceil_bps, c.burst_ticks, c.ceil_burst_ticks,
         c.quantum_bytes, c.priority)
        for c in of(found, ShaperClass, "fabric")
    }  # fmt: skip
    assert ours == theirs
    assert len(ours) == 2 * 8


def test_filters(everything: Plan, bring_up: BringUp) -> None:
    nets = bring_up(everything)
    found = read(nets)
    theirs = set()
    with asking(nets["fabric"]) as ip:
        for index, name in names(ip).items():
            if name not in ("nic0-read", "nic0-write"):
                continue
            for each in ip.get_filters(index, parent=0x10000):
                options = each.get_attr("TCA_OPTIONS")
                selector = options.get_attr("TCA_U32_SEL") if options else None
                if selector is None:
                    continue
                classid = options.get_attr("TCA_U32_CLASSID") & 0xFFFF
                # pyroute2 reads the keys from a wrong place, four bytes too early.
                masks = {key["key_val"] for key in selector["keys"]} - {0}
                theirs.add((name, each["handle"] & 0xFFF, classid, frozenset(masks)))
    ours = {
        (f.device, f.handle, f.classid, frozenset({f.tos_mask << 16, f.source_mask} - {0}))
        for f in of(found, Filter, "fabric")
    }
    assert ours == theirs
    assert len(ours) == 2 * 6


def test_the_kernels_tick_is_the_models() -> None:
    # See psched_show in net/sched/sch_api.c; here 1 ms is 1000 bytes at 8 Mbit/s.
    numerator, denominator, *_ = (int(f, 16) for f in Path("/proc/net/psched").read_text().split())
    assert burst_ticks(1000, 8_000_000) == round(1000 * numerator / denominator)
