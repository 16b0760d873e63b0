"""The shape of every message that makes devices, addresses and forwarding (rtnetlink(7)).

Each template is made when it is first used.  Integers are in host order; addresses are packed.
"""

from __future__ import annotations

import functools
import socket
from typing import Any

from pyroute2.netlink.rtnl import (
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWROUTE,
    RTM_NEWRULE,
    RTM_SETLINK,
)
from pyroute2.netlink.rtnl.fibmsg import FR_ACT_TO_TBL, fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import NTF_MASTER, NUD_NOARP, NUD_PERMANENT, ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from testbed.kernel.template import Template, address, device_name, integer, mac

NLM_F_REQUEST, NLM_F_EXCL, NLM_F_CREATE = 0x1, 0x200, 0x400
CHANGE = NLM_F_REQUEST
NEW = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL
LONGEST_NAME_BYTES = 15  # IFNAMSIZ without the zero
IFF_UP = 0x1
IFA_F_NOPREFIXROUTE = 0x200
RT_SCOPE_LINK, RTPROT_STATIC, RTN_UNICAST = 253, 4, 1


def encoded(
    message_class: Any, kind: int, flags: int, fields: dict[str, Any], attributes: list[Any]
) -> bytes:
    """One message, encoded by pyroute2.  `attributes` that are nested are lists themselves."""
    message = message_class()
    message["header"]["type"] = kind
    message["header"]["flags"] = flags
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = attributes
    message.encode()
    return bytes(message.data)


def nested(*attributes: tuple[str, Any]) -> dict[str, Any]:
    """The value of an attribute that holds attributes."""
    return {"attrs": list(attributes)}


def _device(name: str, mac: str, mtu: int) -> list[Any]:
    return [("IFLA_IFNAME", name), ("IFLA_ADDRESS", mac), ("IFLA_MTU", mtu)]


def _queueing(gso_max_bytes: int, txqueuelen: int) -> list[Any]:
    return [("IFLA_GSO_MAX_SIZE", gso_max_bytes), ("IFLA_TXQLEN", txqueuelen)]


# --- devices ---------------------------------------------------------------------------------


@functools.cache
def veth() -> Template:
    """A pair: one end here, perhaps in a bridge (master 0: none), the other in a namespace."""

    def encode(
        index: int, name: str, mac: str, mtu: int, gso: int, queue: int, master: int,
        peer_index: int, peer_name: str, peer_mac: str, peer_mtu: int, peer_gso: int,
        peer_queue: int, peer_namespace: int,
    ) -> bytes:  # fmt: skip
        peer = nested(
            *_device(peer_name, peer_mac, peer_mtu),
            *_queueing(peer_gso, peer_queue),
            ("IFLA_NET_NS_FD", peer_namespace),
        )
        data = nested(("VETH_INFO_PEER", peer | {"index": peer_index}))
        info = nested(("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", data))
        return encoded(
            ifinfmsg, RTM_NEWLINK, NEW, {"index": index},
            [*_device(name, mac, mtu), *_queueing(gso, queue), ("IFLA_MASTER", master),
             ("IFLA_LINKINFO", info)],
        )  # fmt: skip

    end = [integer("mtu"), integer("gso"), integer("queue")]
    peer = [integer("peer_mtu"), integer("peer_gso"), integer("peer_queue")]
    return Template(
        encode,
        [integer("index"), device_name("name"), mac("mac"), *end, integer("master"),
         integer("peer_index"), device_name("peer_name"), mac("peer_mac"), *peer,
         integer("peer_namespace")],
    )  # fmt: skip


@functools.cache
def ifb() -> Template:
    """An intermediate functional block."""

    def encode(index: int, name: str, mac: str, mtu: int, gso: int, queue: int) -> bytes:
        info = nested(("IFLA_INFO_KIND", "ifb"))
        attributes = [*_device(name, mac, mtu), *_queueing(gso, queue), ("IFLA_LINKINFO", info)]
        return encoded(ifinfmsg, RTM_NEWLINK, NEW, {"index": index}, attributes)

    return Template(
        encode,
        [integer("index"), device_name("name"), mac("mac"), integer("mtu"), integer("gso"),
         integer("queue")],
    )  # fmt: skip


@functools.cache
def bridge() -> Template:
    """A bridge without any protocol of its own."""

    def encode(index: int, name: str, mac: str, mtu: int) -> bytes:
        # VLAN filtering is off by itself, and a kernel without it refuses to be told so.
        data = nested(("IFLA_BR_STP_STATE", 0), ("IFLA_BR_MCAST_SNOOPING", 0))
        info = nested(("IFLA_INFO_KIND", "bridge"), ("IFLA_INFO_DATA", data))
        attributes = [*_device(name, mac, mtu), ("IFLA_LINKINFO", info)]
        return encoded(ifinfmsg, RTM_NEWLINK, NEW, {"index": index}, attributes)

    return Template(encode, [integer("index"), device_name("name"), mac("mac"), integer("mtu")])


@functools.cache
def master() -> Template:
    """Make a device a port of a bridge."""

    def encode(index: int, bridge: int) -> bytes:
        return encoded(ifinfmsg, RTM_NEWLINK, CHANGE, {"index": index}, [("IFLA_MASTER", bridge)])

    return Template(encode, [integer("index"), integer("bridge")])


@functools.cache
def port() -> Template:
    """What a bridge may do with a port."""
    names = ("learning", "flood", "multicast_flood", "broadcast_flood")
    attributes = ("LEARNING", "UNICAST_FLOOD", "MCAST_FLOOD", "BCAST_FLOOD")

    def encode(index: int, **flags: int) -> bytes:
        data = nested(
            *((f"IFLA_BRPORT_{a}", flags[name]) for name, a in zip(names, attributes, strict=True))
        )
        info = nested(("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", data))
        return encoded(ifinfmsg, RTM_NEWLINK, CHANGE, {"index": index}, [("IFLA_LINKINFO", info)])

    return Template(encode, [integer("index"), *(integer(name, "=B") for name in names)])


@functools.cache
def up() -> Template:
    """Set a device up."""

    def encode(index: int) -> bytes:
        fields = {"index": index, "flags": IFF_UP, "change": IFF_UP}
        return encoded(ifinfmsg, RTM_SETLINK, CHANGE, fields, [])

    return Template(encode, [integer("index")])


# --- addresses and forwarding ----------------------------------------------------------------


@functools.cache
def ipv4_address() -> Template:
    """An address.  The kernel makes no route of it: routes are planned, with metrics."""

    def encode(index: int, prefix_len: int, local: str, address: str) -> bytes:
        fields = {"family": socket.AF_INET, "index": index, "prefixlen": prefix_len}
        attributes = [
            ("IFA_LOCAL", local),
            ("IFA_ADDRESS", address),
            ("IFA_FLAGS", IFA_F_NOPREFIXROUTE),
        ]
        return encoded(ifaddrmsg, RTM_NEWADDR, NEW, fields, attributes)

    return Template(
        encode,
        [integer("index"), integer("prefix_len", "=B"), address("local"), address("address")],
    )


@functools.cache
def route() -> Template:
    """A unicast IPv4 route without a gateway, with a least retransmission timeout."""

    def encode(
        prefix_len: int, table: int, destination: str, device: int, source: str, rto_min_ms: int
    ) -> bytes:
        fields = {
            "family": socket.AF_INET, "dst_len": prefix_len, "scope": RT_SCOPE_LINK,
            "proto": RTPROT_STATIC, "type": RTN_UNICAST,
        }  # fmt: skip
        attributes = [
            ("RTA_TABLE", table),
            ("RTA_DST", destination),
            ("RTA_OIF", device),
            ("RTA_PREFSRC", source),
            ("RTA_METRICS", nested(("RTAX_RTO_MIN", rto_min_ms))),
        ]
        return encoded(rtmsg, RTM_NEWROUTE, NEW, fields, attributes)

    return Template(
        encode,
        [integer("prefix_len", "=B"), integer("table"), address("destination"),
         integer("device"), address("source"), integer("rto_min_ms")],
    )  # fmt: skip


@functools.cache
def rule() -> Template:
    """A routing rule: packets from a source use a table (ip-rule(8))."""

    def encode(prefix_len: int, priority: int, source: str, table: int) -> bytes:
        fields = {"family": socket.AF_INET, "src_len": prefix_len, "action": FR_ACT_TO_TBL}
        attributes = [("FRA_PRIORITY", priority), ("FRA_SRC", source), ("FRA_TABLE", table)]
        return encoded(fibmsg, RTM_NEWRULE, NEW, fields, attributes)

    return Template(
        encode,
        [integer("prefix_len", "=B"), integer("priority"), address("source"), integer("table")],
    )


@functools.cache
def neighbour() -> Template:
    """A permanent neighbour entry."""

    def encode(index: int, address: str, mac: str) -> bytes:
        fields = {"family": socket.AF_INET, "ifindex": index, "state": NUD_PERMANENT}
        attributes = [("NDA_DST", address), ("NDA_LLADDR", mac)]
        return encoded(ndmsg, RTM_NEWNEIGH, NEW, fields, attributes)

    return Template(encode, [integer("index"), address("address"), mac("mac")])


@functools.cache
def fdb_entry() -> Template:
    """A static entry in the forwarding table of the bridge that a port belongs to."""

    def encode(index: int, mac: str) -> bytes:
        fields = {
            "family": socket.AF_BRIDGE, "ifindex": index, "state": NUD_NOARP,
            "flags": NTF_MASTER,
        }  # fmt: skip
        return encoded(ndmsg, RTM_NEWNEIGH, NEW, fields, [("NDA_LLADDR", mac)])

    return Template(encode, [integer("index"), mac("mac")])
