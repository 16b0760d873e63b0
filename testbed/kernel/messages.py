"""The shape of every message that is sent to build a cluster (rtnetlink(7)).

Each template is made when it is first used.  Integers are in host order; addresses are packed;
class ids are (major << 16 | minor).
"""

from __future__ import annotations

import functools
import socket
import struct
from typing import Any

from pyroute2.netlink import nla
from pyroute2.netlink.rtnl import (
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWQDISC,
    RTM_NEWROUTE,
    RTM_NEWRULE,
    RTM_NEWTCLASS,
    RTM_NEWTFILTER,
    RTM_SETLINK,
)
from pyroute2.netlink.rtnl.fibmsg import FR_ACT_TO_TBL, fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import NTF_MASTER, NUD_NOARP, NUD_PERMANENT, ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg
from pyroute2.netlink.rtnl.tcmsg import cls_u32, sched_htb, sched_pfifo, tcmsg

from testbed.kernel.template import Template, address, device_name, integer, mac

NLM_F_REQUEST, NLM_F_EXCL, NLM_F_CREATE = 0x1, 0x200, 0x400
_CHANGE = NLM_F_REQUEST
_NEW = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL
LONGEST_NAME_BYTES = 15  # IFNAMSIZ without the zero
IFF_UP = 0x1
IFA_F_NOPREFIXROUTE = 0x200
RT_SCOPE_LINK, RTPROT_STATIC, RTN_UNICAST = 253, 4, 1
TC_H_ROOT, TC_H_CLSACT = 0xFFFFFFFF, 0xFFFFFFF1
CLSACT_HANDLE = 0xFFFF0000
CLSACT_PARENT = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}  # linux/pkt_sched.h
TC_LINKLAYER_ETHERNET = 1  # no rate table wanted: the kernel computes with the rate itself
TC_U32_TERMINAL = 1
TCA_EGRESS_REDIR, TC_ACT_STOLEN = 1, 4
ETH_P_IP, ETH_P_ALL = 0x0800, 0x0003
HTB_RATE2QUANTUM = 10  # tc's default; unused, as every class states its quantum


# pyroute2's classes are untyped, and its encoders of HTB classes and u32 keys compute rate tables
# and merge keys; these take its tables of fields and encode just what they are given.
class _HtbParameters(nla):  # type: ignore[misc]
    fields = sched_htb.options.htb_parms.fields


class _HtbOptions(nla):  # type: ignore[misc]
    nla_map = tuple(
        (name, "none" if kind in ("ctab", "rtab") else kind)
        for name, kind in sched_htb.options.nla_map
    )
    htb_glob = sched_htb.options.htb_glob
    htb_parms = _HtbParameters


_U32_TYPES = {"TCA_U32_SEL": "cdata", "TCA_U32_ACT": "tca_act_prio"}


class _U32Options(nla):  # type: ignore[misc]
    nla_map = tuple(
        (name, kind if kind == "uint32" else _U32_TYPES.get(name, "none"))
        for name, kind in cls_u32.options.nla_map
    )
    tca_act_prio = cls_u32.options.tca_act_prio


_OPTIONS = {"htb": _HtbOptions, "u32": _U32Options, "pfifo": sched_pfifo.options}


class _TrafficControl(tcmsg):  # type: ignore[misc]
    @staticmethod
    def get_options(self: Any, *_: object, **__: object) -> Any:
        return _OPTIONS[self.get_attr("TCA_KIND")]


def _encoded(
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


def _nested(*attributes: tuple[str, Any]) -> dict[str, Any]:
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
        peer = _nested(
            *_device(peer_name, peer_mac, peer_mtu),
            *_queueing(peer_gso, peer_queue),
            ("IFLA_NET_NS_FD", peer_namespace),
        )
        data = _nested(("VETH_INFO_PEER", peer | {"index": peer_index}))
        info = _nested(("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", data))
        return _encoded(
            ifinfmsg, RTM_NEWLINK, _NEW, {"index": index},
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
        info = _nested(("IFLA_INFO_KIND", "ifb"))
        attributes = [*_device(name, mac, mtu), *_queueing(gso, queue), ("IFLA_LINKINFO", info)]
        return _encoded(ifinfmsg, RTM_NEWLINK, _NEW, {"index": index}, attributes)

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
        data = _nested(("IFLA_BR_STP_STATE", 0), ("IFLA_BR_MCAST_SNOOPING", 0))
        info = _nested(("IFLA_INFO_KIND", "bridge"), ("IFLA_INFO_DATA", data))
        attributes = [*_device(name, mac, mtu), ("IFLA_LINKINFO", info)]
        return _encoded(ifinfmsg, RTM_NEWLINK, _NEW, {"index": index}, attributes)

    return Template(encode, [integer("index"), device_name("name"), mac("mac"), integer("mtu")])


@functools.cache
def master() -> Template:
    """Make a device a port of a bridge."""

    def encode(index: int, bridge: int) -> bytes:
        return _encoded(ifinfmsg, RTM_NEWLINK, _CHANGE, {"index": index}, [("IFLA_MASTER", bridge)])

    return Template(encode, [integer("index"), integer("bridge")])


@functools.cache
def port() -> Template:
    """What a bridge may do with a port."""
    names = ("learning", "flood", "multicast_flood", "broadcast_flood")
    attributes = ("LEARNING", "UNICAST_FLOOD", "MCAST_FLOOD", "BCAST_FLOOD")

    def encode(index: int, **flags: int) -> bytes:
        data = _nested(
            *((f"IFLA_BRPORT_{a}", flags[name]) for name, a in zip(names, attributes, strict=True))
        )
        info = _nested(("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", data))
        return _encoded(ifinfmsg, RTM_NEWLINK, _CHANGE, {"index": index}, [("IFLA_LINKINFO", info)])

    return Template(encode, [integer("index"), *(integer(name, "=B") for name in names)])


@functools.cache
def up() -> Template:
    """Set a device up."""

    def encode(index: int) -> bytes:
        fields = {"index": index, "flags": IFF_UP, "change": IFF_UP}
        return _encoded(ifinfmsg, RTM_SETLINK, _CHANGE, fields, [])

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
        return _encoded(ifaddrmsg, RTM_NEWADDR, _NEW, fields, attributes)

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
            ("RTA_METRICS", _nested(("RTAX_RTO_MIN", rto_min_ms))),
        ]
        return _encoded(rtmsg, RTM_NEWROUTE, _NEW, fields, attributes)

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
        return _encoded(fibmsg, RTM_NEWRULE, _NEW, fields, attributes)

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
        return _encoded(ndmsg, RTM_NEWNEIGH, _NEW, fields, attributes)

    return Template(encode, [integer("index"), address("address"), mac("mac")])


@functools.cache
def fdb_entry() -> Template:
    """A static entry in the forwarding table of the bridge that a port belongs to."""

    def encode(index: int, mac: str) -> bytes:
        fields = {
            "family": socket.AF_BRIDGE, "ifindex": index, "state": NUD_NOARP,
            "flags": NTF_MASTER,
        }  # fmt: skip
        return _encoded(ndmsg, RTM_NEWNEIGH, _NEW, fields, [("NDA_LLADDR", mac)])

    return Template(encode, [integer("index"), mac("mac")])


# --- shapers ---------------------------------------------------------------------------------


@functools.cache
def htb() -> Template:
    """An HTB qdisc at the root of a device."""

    def encode(index: int, handle: int, default_class: int, direct_queue: int) -> bytes:
        init = {"version": 3, "rate2quantum": HTB_RATE2QUANTUM, "defcls": default_class}
        options = _nested(("TCA_HTB_INIT", init), ("TCA_HTB_DIRECT_QLEN", direct_queue))
        return _encoded(
            _TrafficControl, RTM_NEWQDISC, _NEW,
            {"index": index, "handle": handle, "parent": TC_H_ROOT},
            [("TCA_KIND", "htb"), ("TCA_OPTIONS", options)],
        )  # fmt: skip

    return Template(
        encode,
        [integer("index"), integer("handle"), integer("default_class"), integer("direct_queue")],
    )


@functools.cache
def htb_class() -> Template:
    """An HTB class; rates in bytes per second, the 32-bit ones saturated, bursts in ticks."""
    names = (
        "index", "handle", "parent", "rate", "ceil", "burst", "ceil_burst", "quantum", "priority",
    )  # fmt: skip

    def encode(**v: int) -> bytes:
        parameters = {
            "rate": v["rate"], "ceil": v["ceil"], "buffer": v["burst"],
            "cbuffer": v["ceil_burst"], "quantum": v["quantum"], "prio": v["priority"],
            # pyroute2 calls the byte with the link layer reserved.
            "rate___reserved": TC_LINKLAYER_ETHERNET, "ceil___reserved": TC_LINKLAYER_ETHERNET,
        }  # fmt: skip
        options = _nested(
            ("TCA_HTB_PARMS", parameters),
            ("TCA_HTB_RATE64", v["rate64"]),
            ("TCA_HTB_CEIL64", v["ceil64"]),
        )
        return _encoded(
            _TrafficControl, RTM_NEWTCLASS, _NEW,
            {"index": v["index"], "handle": v["handle"], "parent": v["parent"]},
            [("TCA_KIND", "htb"), ("TCA_OPTIONS", options)],
        )  # fmt: skip

    return Template(
        encode, [*map(integer, names), integer("rate64", "=Q"), integer("ceil64", "=Q")]
    )


@functools.cache
def leaf_queue() -> Template:
    """A packet FIFO below a class, where its depth is not the device's own queue length."""

    def encode(index: int, parent: int, packets: int) -> bytes:
        return _encoded(
            _TrafficControl, RTM_NEWQDISC, _NEW, {"index": index, "parent": parent},
            [("TCA_KIND", "pfifo"), ("TCA_OPTIONS", {"limit": packets})],
        )  # fmt: skip

    return Template(encode, [integer("index"), integer("parent"), integer("packets")])


def plain_qdisc(index: int, kind: str) -> bytes:
    """A root qdisc of any kind, without options; not a template, as it is no part of a plan."""
    fields = {"index": index, "parent": TC_H_ROOT}
    return _encoded(tcmsg, RTM_NEWQDISC, _NEW, fields, [("TCA_KIND", kind)])


def _selector(keys: list[tuple[int, int, int]]) -> bytes:
    """A tc_u32_sel with its keys (mask, value, offset); without a key everything matches."""
    head = struct.pack(">BBBxHhhhI", TC_U32_TERMINAL, 0, len(keys), 0, 0, 0, 0, 0)
    return head + b"".join(
        struct.pack(">II", mask, value) + struct.pack("=ii", offset, 0)
        for mask, value, offset in keys
    )


@functools.cache
def u32(keys: int) -> Template:
    """A filter of IPv4 packets with this number of keys, leading to a class (tc-u32(8))."""

    def encode(**v: int) -> bytes:
        selector = _selector([(v[f"mask{i}"], v[f"value{i}"], v[f"at{i}"]) for i in range(keys)])
        options = _nested(("TCA_U32_CLASSID", v["classid"]), ("TCA_U32_SEL", selector))
        return _encoded(
            _TrafficControl, RTM_NEWTFILTER, _NEW,
            {"index": v["index"], "handle": v["handle"], "parent": v["parent"],
             "info": v["info"]},
            [("TCA_KIND", "u32"), ("TCA_OPTIONS", options)],
        )  # fmt: skip

    fields = [integer(name) for name in ("index", "handle", "parent", "info", "classid")]
    for i in range(keys):
        fields += [integer(f"mask{i}", ">I"), integer(f"value{i}", ">I"), integer(f"at{i}")]
    return Template(encode, fields)


@functools.cache
def clsact() -> Template:
    """The qdisc that carries filters for what enters and leaves a device."""

    def encode(index: int) -> bytes:
        fields = {"index": index, "handle": CLSACT_HANDLE, "parent": TC_H_CLSACT}
        return _encoded(_TrafficControl, RTM_NEWQDISC, _NEW, fields, [("TCA_KIND", "clsact")])

    return Template(encode, [integer("index")])


@functools.cache
def redirect() -> Template:
    """Everything that passes a clsact hook is sent through another device (tc-mirred(8))."""

    def encode(index: int, parent: int, target: int) -> bytes:
        info = 1 << 16 | socket.htons(ETH_P_ALL)
        parameters = {"action": TC_ACT_STOLEN, "eaction": TCA_EGRESS_REDIR, "ifindex": target}
        action = _nested(
            ("TCA_ACT_KIND", "mirred"),
            ("TCA_ACT_OPTIONS", _nested(("TCA_MIRRED_PARMS", parameters))),
        )
        options = _nested(
            ("TCA_U32_SEL", _selector([])), ("TCA_U32_ACT", _nested(("TCA_ACT_PRIO_1", action)))
        )
        return _encoded(
            _TrafficControl, RTM_NEWTFILTER, _NEW,
            {"index": index, "handle": 1, "parent": parent, "info": info},
            [("TCA_KIND", "u32"), ("TCA_OPTIONS", options)],
        )  # fmt: skip

    return Template(encode, [integer("index"), integer("parent"), integer("target")])
