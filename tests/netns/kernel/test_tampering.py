"""Whatever is changed, removed or added behind the testbed's back is reported by its name.

    dram <-> nic0 <-> hbm, with everything that a plan can hold

Devices, addresses and forwarding are tampered with by pyroute2; classes and filters by messages
that change one field and leave the others as they are.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pyroute2 import IPRoute

from testbed.kernel import messages, shaper_messages
from testbed.kernel.encoding import NEW
from testbed.kernel.namespaces import create_network, inside
from testbed.kernel.netlink import Request, RouteSocket
from testbed.kernel.readback import read
from testbed.kernel.shaping import _message as shaping_message
from testbed.plan.diff import Difference, differences
from testbed.plan.model import (
    KEYS,
    FdbEntry,
    Filter,
    Namespace,
    Neighbours,
    Plan,
    Redirect,
    Route,
    Shaper,
    ShaperClass,
    Sysctl,
    Unknown,
    objects,
)
from testbed.plan.sysctls import MANAGED_SYSCTLS

RTM_DELTFILTER, RTM_GETTFILTER, RTM_DELTCLASS, RTM_DELQDISC = 45, 46, 41, 37
RTM_NEWNEIGH, RTM_DELNEIGH = 28, 29
NLM_F_REQUEST = 0x1
READ = ("fabric", "nic0-read")
PORT = ("fabric", "nic0-dram")
LEAF, LANE = 0x201, 0x20
U32_ROOT = 0xFFF00000


class Hand:
    """The hand that tampers: it works inside the namespaces of a cluster."""

    def __init__(self, plan: Plan, nets: Mapping[str, int]) -> None:
        self.plan = plan
        self.nets = dict(nets)

    @contextmanager
    def ip(self, namespace: str) -> Iterator[Any]:
        with inside(self.nets[namespace]), IPRoute() as route:
            yield route

    def index(self, namespace: str, device: str) -> int:
        with inside(self.nets[namespace]):
            return socket.if_nametoindex(device)

    def link(self, namespace: str, device: str, **what: Any) -> None:
        with self.ip(namespace) as ip:
            ip.link("set", index=self.index(namespace, device), **what)

    def sysctl(self, namespace: str, key: str, value: str) -> None:
        with inside(self.nets[namespace]):
            (Path("/proc/sys") / key).write_text(value)

    def element(self, kind: type, **fields: Any) -> Any:
        (found,) = (
            e
            for e in self.plan.elements
            if isinstance(e, kind) and all(getattr(e, n) == v for n, v in fields.items())
        )
        return found

    def traffic(self, element: Any, *, flags: int = NEW, kind: int = 0) -> None:
        """Send the message that makes a part of a shaper, with other flags or as another type."""
        index = self.index(element.namespace, element.device)
        message = shaping_message(element, index, 1 << 16)
        if kind:
            struct.pack_into("=H", message, 4, kind)
        if kind == RTM_DELTFILTER:
            struct.pack_into("=I", message, 24, self.table(element) | element.handle)
        struct.pack_into("=H", message, 6, flags)
        with inside(self.nets[element.namespace]), RouteSocket() as opened:
            opened.submit([Request(message, element)])

    def table(self, chosen: Filter) -> int:
        """The handle of the hash table that a filter is in."""
        message = shaping_message(chosen, self.index(chosen.namespace, chosen.device), 1 << 16)
        struct.pack_into("=H", message, 4, RTM_GETTFILTER)
        struct.pack_into("=I", message, 24, U32_ROOT)
        with inside(self.nets[chosen.namespace]), RouteSocket() as opened:
            (answer,) = opened.ask([bytes(message)])
        assert answer is not None
        return int(struct.unpack_from("=I", answer, 24)[0])

    def change_class(self, field: str, value: int) -> None:
        chosen = self.element(ShaperClass, device=READ[1], classid=LEAF)
        changed = msgspec.structs.replace(chosen, **{field: value})
        self.traffic(changed, flags=NLM_F_REQUEST)

    def change_filter(self, field: str, value: int) -> None:
        chosen = self.element(Filter, device=READ[1], parent=LANE, handle=1)
        self.traffic(chosen, kind=RTM_DELTFILTER, flags=NLM_F_REQUEST)
        self.traffic(msgspec.structs.replace(chosen, **{field: value}))

    def remake_shaper(self, **fields: int) -> None:
        chosen = self.element(Shaper, device=READ[1])
        self.traffic(chosen, kind=RTM_DELQDISC, flags=NLM_F_REQUEST)
        self.traffic(msgspec.structs.replace(chosen, **fields))

    def fdb(self, ether: str, kind: int = RTM_NEWNEIGH) -> None:
        packed = bytes.fromhex(ether.replace(":", ""))
        message = messages.fdb_entry().fill(self.index(*PORT), packed)
        if kind == RTM_DELNEIGH:
            struct.pack_into("=HH", message, 4, kind, NLM_F_REQUEST)
        with inside(self.nets["fabric"]), RouteSocket() as opened:
            opened.submit([Request(message, FdbEntry(*PORT, ether))])

    def qdisc(self, *arguments: Any, **options: Any) -> None:
        with self.ip("fabric") as ip:
            ip.tc(*arguments, **options)


Tamper = Callable[[Hand], None]
CHANGES: dict[str, tuple[Tamper, tuple[object, ...], str]] = {}
REMOVALS: dict[str, tuple[Tamper, tuple[object, ...]]] = {}
ADDITIONS: dict[str, tuple[Tamper, tuple[object, ...]]] = {}


def changes(name: str, field: str, *key: object) -> Callable[[Tamper], Tamper]:
    def register(tamper: Tamper) -> Tamper:
        CHANGES[f"{key[0]}-{field}{name and '-' + name}"] = (tamper, key, field)
        return tamper

    return register


def removes(*key: object) -> Callable[[Tamper], Tamper]:
    def register(tamper: Tamper) -> Tamper:
        REMOVALS[f"{key[0]}-{tamper.__name__}"] = (tamper, key)
        return tamper

    return register


def adds(*key: object) -> Callable[[Tamper], Tamper]:
    def register(tamper: Tamper) -> Tamper:
        ADDITIONS[f"{key[0]}-{tamper.__name__}"] = (tamper, key)
        return tamper

    return register


# --- a field changes ---------------------------------------------------------------------------

MAC = "02:aa:aa:aa:aa:aa"
for _kind, _namespace, _device in (
    ("bridge", "fabric", "nic0"),
    ("veth", "dram", "cnic0"),
    ("ifb", "fabric", "nic0-read"),
):
    for _field, _option, _value in (
        ("mac", "address", MAC),
        ("mtu", "mtu", 1400),
        ("up", "state", "down"),
        ("txqueuelen", "txqlen", 77),
        ("gso_max_bytes", "gso_max_size", 9999),
    ):
        if _kind == "ifb" and _field == "mac":
            continue  # the kernel refuses that: see below
        if _kind != "bridge" or _field in ("mac", "mtu", "up"):
            changes("", _field, _kind, _namespace, _device)(
                lambda hand, where=(_namespace, _device), what={_option: _value}: hand.link(
                    *where, **what
                )
            )


@changes("", "mac", "ifb", *READ)
def _(hand: Hand) -> None:
    with hand.ip("fabric") as ip:
        ip.link("del", index=hand.index(*READ))
        ip.link("add", ifname=READ[1], kind="ifb", address=MAC)


@changes("", "peer_device", "veth", "dram", "cnic0")
def _(hand: Hand) -> None:
    hand.link("fabric", "nic0-dram", ifname="renamed")


@changes("", "peer_namespace", "veth", "dram", "cnic0")
def _(hand: Hand) -> None:
    hand.link("fabric", "nic0-dram", net_ns_fd=hand.nets["hbm"])


@changes("", "bridge", "port", *PORT)
def _(hand: Hand) -> None:
    with hand.ip("fabric") as ip:
        ip.link("add", ifname="other", kind="bridge")
        ip.link("set", index=hand.index(*PORT), master=hand.index("fabric", "other"))


for _field, _option in (
    ("learning", "learning"),
    ("flood", "unicast_flood"),
    ("multicast_flood", "mcast_flood"),
    ("broadcast_flood", "bcast_flood"),
):

    @changes("", _field, "port", *PORT)
    def _(hand: Hand, option: str = _option) -> None:
        with hand.ip("fabric") as ip:
            ip.brport("set", index=hand.index(*PORT), **{option: 1})


@changes("", "prefix_len", "address", "dram", "cnic0", "10.64.0.1")
def _(hand: Hand) -> None:
    with hand.ip("dram") as ip:
        index = hand.index("dram", "cnic0")
        ip.addr("add", index=index, address="10.64.0.1", prefixlen=24)
        ip.addr("del", index=index, address="10.64.0.1", prefixlen=32)


def _route(hand: Hand, **other: Any) -> None:
    values = {
        "dst": "10.64.0.0/10", "table": 100, "oif": hand.index("dram", "cnic0"),
        "prefsrc": "10.64.0.1", "scope": 253, "proto": 4, "metrics": {"rto_min": 2000},
    }  # fmt: skip
    with hand.ip("dram") as ip:
        ip.route("replace", **values | other)


@changes("", "device", "route", "dram", 100, "10.64.0.0/10")
def _(hand: Hand) -> None:
    _route(hand, oif=hand.index("dram", "lo"))


@changes("", "source", "route", "dram", 100, "10.64.0.0/10")
def _(hand: Hand) -> None:
    with hand.ip("dram") as ip:
        ip.addr("add", index=hand.index("dram", "cnic0"), address="10.64.0.9", prefixlen=32)
    _route(hand, prefsrc="10.64.0.9")


@changes("", "rto_min_ms", "route", "dram", 100, "10.64.0.0/10")
def _(hand: Hand) -> None:
    _route(hand, metrics={"rto_min": 300})


def _rule(hand: Hand, source: str = "10.64.0.1", table: int = 100) -> None:
    with hand.ip("dram") as ip:
        ip.rule("del", priority=1000)
        ip.rule("add", priority=1000, src=source, src_len=32, table=table)


@changes("", "source", "rule", "dram", 1000)
def _(hand: Hand) -> None:
    _rule(hand, source="10.64.0.7")


@changes("", "table", "rule", "dram", 1000)
def _(hand: Hand) -> None:
    _rule(hand, table=101)


@changes("", "mac", "neighbour", "dram", "cnic0", "10.64.0.2")
def _(hand: Hand) -> None:
    with hand.ip("dram") as ip:
        index = hand.index("dram", "cnic0")
        ip.neigh("change", ifindex=index, dst="10.64.0.2", lladdr=MAC, state=0x80)


for _sysctl in MANAGED_SYSCTLS:

    @changes(_sysctl.key, "value", "sysctl", "dram", _sysctl.key)
    def _(hand: Hand, key: str = _sysctl.key) -> None:
        with inside(hand.nets["dram"]):
            if not Path("/proc/sys", key).exists():
                pytest.skip("this kernel has no such parameter")
            now = Path("/proc/sys", key).read_text().strip()
        if "mem" in key:
            other = "4096 8192 16384"
        elif "congestion" in key:
            allowed = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control").read_text()
            other = next((name for name in allowed.split() if name != now), "")
            if not other:
                pytest.skip("this kernel allows one congestion control only")
        else:
            other = "1" if now == "0" else "0"
        hand.sysctl("dram", key, other)


@changes("", "handle", "shaper", *READ)
def _(hand: Hand) -> None:
    hand.qdisc("del", "htb", index=hand.index(*READ), parent=0xFFFFFFFF)
    hand.qdisc("add", "htb", hand.index(*READ), 0x20000, default=0xF000)


@changes("", "default_class", "shaper", *READ)
def _(hand: Hand) -> None:
    hand.remake_shaper(default_class=0x10)


@changes("", "direct_queue_packets", "shaper", *READ)
def _(hand: Hand) -> None:
    hand.remake_shaper(direct_queue_packets=3)


for _field, _value in (
    ("rate_bps", 800_000), ("ceil_bps", 16_000_000), ("burst_ticks", 4321),
    ("ceil_burst_ticks", 321), ("quantum_bytes", 12345), ("priority", 5),
):  # fmt: skip

    @changes("", _field, "class", *READ, LEAF)
    def _(hand: Hand, field: str = _field, value: int = _value) -> None:
        hand.change_class(field, value)


@changes("", "parent", "class", *READ, LEAF)
def _(hand: Hand) -> None:
    chosen = hand.element(ShaperClass, device=READ[1], classid=LEAF)
    leads = hand.element(Filter, device=READ[1], classid=LEAF)
    hand.traffic(leads, kind=RTM_DELTFILTER, flags=NLM_F_REQUEST)
    hand.traffic(chosen, kind=RTM_DELTCLASS, flags=NLM_F_REQUEST)
    hand.traffic(msgspec.structs.replace(chosen, parent=0x10))


@changes("", "queue_packets", "class", *READ, LEAF)
def _(hand: Hand) -> None:
    hand.qdisc("add", "pfifo", hand.index(*READ), 0, parent=1 << 16 | LEAF, limit=5)


for _field, _value in (
    ("tos", 0x08), ("tos_mask", 0xFF), ("source", 0), ("source_mask", 0x7), ("classid", 0x200),
):  # fmt: skip

    @changes("", _field, "filter", *READ, LANE, 1, 1)
    def _(hand: Hand, field: str = _field, value: int = _value) -> None:
        if field == "tos":  # a value needs a mask to be kept
            chosen = hand.element(Filter, device=READ[1], parent=LANE, handle=1)
            hand.traffic(chosen, kind=RTM_DELTFILTER, flags=NLM_F_REQUEST)
            hand.traffic(msgspec.structs.replace(chosen, tos=value, tos_mask=0xFC))
        elif field == "classid":
            hand.change_filter(field, 0x200 if _classid(hand) != 0x200 else 0x201)
        else:
            hand.change_filter(field, value)


def _classid(hand: Hand) -> int:
    found = hand.element(Filter, device=READ[1], parent=LANE, handle=1)
    return int(found.classid)


@changes("", "target", "redirect", *PORT, "ingress")
def _(hand: Hand) -> None:
    _redirect(hand, replaces=True)


def _redirect(hand: Hand, *, replaces: bool) -> None:
    parent = shaper_messages.CLSACT_PARENT["ingress"]
    index = hand.index(*PORT)
    hand.qdisc("del-filter", index=index, parent=parent)
    if replaces:
        message = shaper_messages.redirect().fill(index, parent, hand.index("fabric", "nic0-write"))
        element = hand.element(Redirect, device=PORT[1], direction="ingress")
        with inside(hand.nets["fabric"]), RouteSocket() as opened:
            opened.submit([Request(message, element)])


# --- an object is removed ----------------------------------------------------------------------


@removes("namespace", "hbm")
def gone(hand: Hand) -> None:
    del hand.nets["hbm"]


@removes("bridge", "fabric", "nic0")
def bridge_deleted(hand: Hand) -> None:
    with hand.ip("fabric") as ip:
        ip.link("del", index=hand.index("fabric", "nic0"))


@removes("veth", "hbm", "cnic0")
def pair_deleted(hand: Hand) -> None:
    with hand.ip("hbm") as ip:
        ip.link("del", index=hand.index("hbm", "cnic0"))


@removes("ifb", "fabric", "nic0-read")
def ifb_deleted(hand: Hand) -> None:
    with hand.ip("fabric") as ip:
        ip.link("del", index=hand.index("fabric", "nic0-read"))


@removes("port", *PORT)
def freed(hand: Hand) -> None:
    hand.link(*PORT, master=0)


@removes("address", "dram", "cnic0", "10.64.0.1")
def address_deleted(hand: Hand) -> None:
    with hand.ip("dram") as ip:
        index = hand.index("dram", "cnic0")
        ip.addr("del", index=index, address="10.64.0.1", prefixlen=32)


@removes("route", "dram", 254, "10.64.0.0/10")
def route_deleted(hand: Hand) -> None:
    with hand.ip("dram") as ip:
        ip.route("del", dst="10.64.0.0/10", oif=hand.index("dram", "cnic0"), scope=253)


@removes("rule", "dram", 1000)
def rule_deleted(hand: Hand) -> None:
    with hand.ip("dram") as ip:
        ip.rule("del", priority=1000)


@removes("neighbour", "dram", "cnic0", "10.64.0.2")
def neighbour_deleted(hand: Hand) -> None:
    with hand.ip("dram") as ip:
        ip.neigh("del", ifindex=hand.index("dram", "cnic0"), dst="10.64.0.2")


@removes("fdb", *PORT, "02:00:0a:40:00:01")
def entry_deleted(hand: Hand) -> None:
    hand.fdb("02:00:0a:40:00:01", kind=RTM_DELNEIGH)


@removes("shaper", *READ)
def shaper_deleted(hand: Hand) -> None:
    hand.qdisc("del", "htb", index=hand.index(*READ), parent=0xFFFFFFFF)


@removes("class", *READ, LEAF)
def class_deleted(hand: Hand) -> None:
    leads = hand.element(Filter, device=READ[1], classid=LEAF)
    hand.traffic(leads, kind=RTM_DELTFILTER, flags=NLM_F_REQUEST)
    chosen = hand.element(ShaperClass, device=READ[1], classid=LEAF)
    hand.traffic(chosen, kind=RTM_DELTCLASS, flags=NLM_F_REQUEST)


@removes("filter", *READ, LANE, 1, 1)
def filter_deleted(hand: Hand) -> None:
    chosen = hand.element(Filter, device=READ[1], parent=LANE, handle=1)
    hand.traffic(chosen, kind=RTM_DELTFILTER, flags=NLM_F_REQUEST)


@removes("redirect", *PORT, "ingress")
def redirect_deleted(hand: Hand) -> None:
    _redirect(hand, replaces=False)


# --- an object is added ------------------------------------------------------------------------


@adds("namespace", "stranger")
def joined(hand: Hand) -> None:
    hand.nets["stranger"] = create_network()


@adds("bridge", "hbm", "spare")
def bridge_made(hand: Hand) -> None:
    with hand.ip("hbm") as ip:
        ip.link("add", ifname="spare", kind="bridge")


@adds("veth", "hbm", "spare")
def pair_made(hand: Hand) -> None:
    with hand.ip("hbm") as ip:
        ip.link("add", ifname="spare", kind="veth", peer="spare2")


@adds("ifb", "hbm", "spare")
def ifb_made(hand: Hand) -> None:
    with hand.ip("hbm") as ip:
        ip.link("add", ifname="spare", kind="ifb")


@adds("port", *READ)
def enslaved(hand: Hand) -> None:
    hand.link(*READ, master=hand.index("fabric", "nic0"))


@adds("address", "hbm", "cnic0", "10.9.9.9")
def address_made(hand: Hand) -> None:
    with hand.ip("hbm") as ip:
        ip.addr("add", index=hand.index("hbm", "cnic0"), address="10.9.9.9", prefixlen=24)


@adds("address", "hbm", "lo", "127.0.0.2")
def loopback_address_made(hand: Hand) -> None:
    with hand.ip("hbm") as ip:
        ip.addr("add", index=1, address="127.0.0.2", prefixlen=32)


@adds("route", "hbm", 254, "10.7.0.0/16")
def route_made(hand: Hand) -> None:
    with hand.ip("hbm") as ip:
        ip.route("add", dst="10.7.0.0/16", oif=hand.index("hbm", "cnic0"))


@adds("route", "hbm", 254, "0.0.0.0/0")
def default_route_made(hand: Hand) -> None:
    route = Route("hbm", 254, "0.0.0.0/0", "cnic0", "10.64.0.2", 2000)
    packed = socket.inet_aton(route.source)
    message = messages.route().fill(0, 254, bytes(4), hand.index("hbm", "cnic0"), packed, 2000)
    with inside(hand.nets["hbm"]), RouteSocket() as opened:
        opened.submit([Request(message, route)])


@adds("unknown", "hbm", "route", "10.7.0.0/16 by index 0 in table 254")
def blackhole_made(hand: Hand) -> None:
    with hand.ip("hbm") as ip:
        ip.route("add", dst="10.7.0.0/16", type="blackhole")


@adds("rule", "hbm", 7)
def rule_made(hand: Hand) -> None:
    with hand.ip("hbm") as ip:
        ip.rule("add", priority=7, table=254)


@adds("unknown", "hbm", "rule", "IPv4 32767")
def default_rule_deleted(hand: Hand) -> None:
    with hand.ip("hbm") as ip:
        ip.rule("del", priority=32767, table=253)


@adds("neighbour", "hbm", "cnic0", "10.64.0.77")
def neighbour_made(hand: Hand) -> None:
    with hand.ip("hbm") as ip:
        index = hand.index("hbm", "cnic0")
        ip.neigh("add", ifindex=index, dst="10.64.0.77", lladdr=MAC, state=0x80)


@adds("unknown", "hbm", "neighbour", "10.64.0.77 of cnic0")
def neighbour_learned(hand: Hand) -> None:
    with hand.ip("hbm") as ip:
        index = hand.index("hbm", "cnic0")
        ip.neigh("add", ifindex=index, dst="10.64.0.77", lladdr=MAC, state=0x04)


@adds("fdb", *PORT, MAC)
def entry_made(hand: Hand) -> None:
    hand.fdb(MAC)


@adds("unknown", "fabric", "fdb", f"{MAC} of nic0-dram")
def entry_learned(hand: Hand) -> None:
    # What learning makes: frames from an address that nobody announced.
    with hand.ip("fabric") as ip:
        ip.brport("set", index=hand.index(*PORT), learning=1)
    with inside(hand.nets["dram"]):
        sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        sender.bind(("cnic0", 0x0800))
        ether = bytes.fromhex(MAC.replace(":", ""))
        sender.send(b"\x02" + bytes(5) + ether + b"\x08\x00" + bytes(46))


@adds("shaper", "hbm", "cnic0")
def shaper_made(hand: Hand) -> None:
    with hand.ip("hbm") as ip:
        ip.tc("add", "htb", hand.index("hbm", "cnic0"), 0x10000, default=0x10)


@adds("class", *READ, 0x333)
def class_made(hand: Hand) -> None:
    chosen = hand.element(ShaperClass, device=READ[1], classid=LEAF)
    hand.traffic(msgspec.structs.replace(chosen, classid=0x333))


@adds("filter", *READ, 0x10, 1, 9)
def filter_made(hand: Hand) -> None:
    chosen = hand.element(Filter, device=READ[1], parent=0x10, handle=1)
    hand.traffic(msgspec.structs.replace(chosen, handle=9, tos_mask=0xFC))


@adds("filter", *READ, 0, 2, 1)
def filter_of_another_priority_made(hand: Hand) -> None:
    chosen = hand.element(Filter, device=READ[1], parent=0, handle=1)
    hand.traffic(msgspec.structs.replace(chosen, priority=2))


@adds("filter", *READ, LEAF, 1, 1)
def filter_below_a_leaf_made(hand: Hand) -> None:
    chosen = hand.element(Filter, device=READ[1], parent=0, handle=1)
    hand.traffic(msgspec.structs.replace(chosen, parent=LEAF))


@adds("redirect", "hbm", "cnic0", "egress")
def redirect_made(hand: Hand) -> None:
    with hand.ip("hbm") as ip:
        ip.link("add", ifname="spare", kind="ifb")
        ip.tc("add", "clsact", hand.index("hbm", "cnic0"))
    index, target = hand.index("hbm", "cnic0"), hand.index("hbm", "spare")
    message = shaper_messages.redirect().fill(
        index, shaper_messages.CLSACT_PARENT["egress"], target
    )
    with inside(hand.nets["hbm"]), RouteSocket() as opened:
        opened.submit([Request(message, Redirect("hbm", "cnic0", "egress", "spare"))])


@adds("unknown", "hbm", "qdisc", "clsact of cnic0")
def empty_hook_made(hand: Hand) -> None:
    with hand.ip("hbm") as ip:
        ip.tc("add", "clsact", hand.index("hbm", "cnic0"))


@adds("unknown", "hbm", "qdisc", "tbf 1: of cnic0")
def shaper_of_another_kind_made(hand: Hand) -> None:
    with hand.ip("hbm") as ip:
        index = hand.index("hbm", "cnic0")
        ip.tc("add", "tbf", index, 0x10000, rate="10mbit", burst=20000, limit=30000)


@adds("unknown", "fabric", "qdisc", "bfifo 77: of nic0-read")
def leaf_queue_of_another_kind_made(hand: Hand) -> None:
    message = bytearray(shaper_messages.plain_qdisc(hand.index(*READ), "bfifo"))
    struct.pack_into("=II", message, 24, 0x77 << 16, 1 << 16 | LEAF)  # handle, parent
    with inside(hand.nets["fabric"]), RouteSocket() as opened:
        opened.submit([Request(message, hand.element(Shaper, device=READ[1]))])


@adds("unknown", "hbm", "link", "spare")
def device_of_another_kind_made(hand: Hand) -> None:
    with inside(hand.nets["hbm"]):
        descriptor = os.open("/dev/net/tun", os.O_RDWR)
        request = struct.pack("16sH22x", b"spare", 0x2 | 0x1000)  # IFF_TAP, IFF_NO_PI
        fcntl.ioctl(descriptor, 0x400454CA, request)  # TUNSETIFF; lives as long as the file


@adds("unknown", "hbm", "address", "fd00::1 of cnic0")
def ipv6_address_made(hand: Hand) -> None:
    hand.sysctl("hbm", "net/ipv6/conf/all/disable_ipv6", "0")
    with hand.ip("hbm") as ip:
        ip.addr("add", index=hand.index("hbm", "cnic0"), address="fd00::1", prefixlen=64)


@adds("unknown", "hbm", "address", "10.9.9.9 of cnic0")
def labelled_address_made(hand: Hand) -> None:
    with hand.ip("hbm") as ip:
        index = hand.index("hbm", "cnic0")
        ip.addr("add", index=index, address="10.9.9.9", prefixlen=32, label="cnic0:x", scope=253)


@adds("unknown", "fabric", "device", "nic0")
def bridge_given_a_protocol(hand: Hand) -> None:
    with hand.ip("fabric") as ip:
        index = hand.index("fabric", "nic0")
        ip.link("set", index=index, kind="bridge", br_mcast_snooping=1)


@adds("unknown", "fabric", "port", "nic0-dram")
def port_made_a_hairpin(hand: Hand) -> None:
    with hand.ip("fabric") as ip:
        ip.brport("set", index=hand.index(*PORT), mode=1)


@adds("unknown", "hbm", "loopback", "lo")
def loopback_down(hand: Hand) -> None:
    hand.link("hbm", "lo", state="down")


@adds("unknown", "hbm", "device", "cnic0")
def listens_to_all(hand: Hand) -> None:
    with inside(hand.nets["hbm"]):
        control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        request = struct.pack("16sH22x", b"cnic0", 0x1 | 0x100)  # IFF_UP, IFF_PROMISC
        fcntl.ioctl(control, 0x8914, request)  # SIOCSIFFLAGS


# --- the tests ---------------------------------------------------------------------------------


def tampered(plan: Plan, bring_up: Any, tamper: Tamper) -> list[Difference]:
    hand = Hand(plan, bring_up(plan))
    assert differences(plan, read(hand.nets)) == []
    tamper(hand)
    return differences(plan, read(hand.nets))


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_field_is_named(name: str, cnic: Plan, bring_up: Any) -> None:
    tamper, key, field = CHANGES[name]
    found = tampered(cnic, bring_up, tamper)
    assert ("changed", key, field) in [(d.kind, d.name, d.field) for d in found]
    assert all(d.describe() for d in found)


@pytest.mark.parametrize("name", REMOVALS)
def test_a_removed_object_is_named(name: str, cnic: Plan, bring_up: Any) -> None:
    tamper, key = REMOVALS[name]
    assert ("missing", key) in [(d.kind, d.name) for d in tampered(cnic, bring_up, tamper)]


@pytest.mark.parametrize("name", ADDITIONS)
def test_an_added_object_is_named(name: str, cnic: Plan, bring_up: Any) -> None:
    tamper, key = ADDITIONS[name]
    assert ("extra", key) in [(d.kind, d.name) for d in tampered(cnic, bring_up, tamper)]


def test_every_field_of_every_kind_is_covered(cnic: Plan) -> None:
    elements = {type(e) for e in objects(cnic.elements)}
    kinds = KEYS.keys() - {Unknown, Neighbours}  # which are named one by one
    assert kinds == elements
    covered = {(key[0], field) for _, key, field in CHANGES.values()}
    wanted = {
        (cls.__struct_config__.tag, field)
        for cls in kinds
        for field in cls.__struct_fields__
        if field not in KEYS[cls] and (cls, field) != (Namespace, "host")
    }
    assert wanted == covered
    for table in (REMOVALS, ADDITIONS):
        tags = {key[0] for _, key in table.values()}
        # A parameter of the kernel can be neither removed nor added.
        assert tags >= {cls.__struct_config__.tag for cls in kinds - {Sysctl}}
