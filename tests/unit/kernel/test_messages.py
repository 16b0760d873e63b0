"""Every shape of message is what pyroute2 makes of the same values, to the byte.

Where pyroute2's own encoder does more than encode (rate tables, merged keys), only its tables of
fields are used.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest
from pyroute2.netlink import nla, rtnl
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg
from pyroute2.netlink.rtnl.tcmsg import cls_u32, sched_htb, sched_pfifo, tcmsg

from testbed.kernel import messages, shaper_messages
from testbed.kernel.encoding import CHANGE, NEW

MAC, PEER_MAC = "02:00:0a:40:00:01", "02:01:0a:40:00:01"


class HtbParameters(nla):  # type: ignore[misc]
    fields = sched_htb.options.htb_parms.fields


class HtbOptions(nla):  # type: ignore[misc]
    nla_map = tuple(
        (name, "none" if kind in ("ctab", "rtab") else kind)
        for name, kind in sched_htb.options.nla_map
    )
    htb_glob = sched_htb.options.htb_glob
    htb_parms = HtbParameters


U32_TYPES = {"TCA_U32_SEL": "cdata", "TCA_U32_ACT": "tca_act_prio"}


class U32Options(nla):  # type: ignore[misc]
    nla_map = tuple(
        (name, kind if kind == "uint32" else U32_TYPES.get(name, "none"))
        for name, kind in cls_u32.options.nla_map
    )
    tca_act_prio = cls_u32.options.tca_act_prio


OPTIONS = {"htb": HtbOptions, "u32": U32Options, "pfifo": sched_pfifo.options}


class TrafficControl(tcmsg):  # type: ignore[misc]
    @staticmethod
    def get_options(self: Any, *_: object, **__: object) -> Any:
        return OPTIONS[self.get_attr("TCA_KIND")]


def theirs(
    message_class: Any, kind: int, flags: int, fields: dict[str, Any], *attributes: tuple[str, Any]
) -> bytes:
    message = message_class()
    message["header"]["type"] = kind
    message["header"]["flags"] = flags
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = list(attributes)
    message.encode()
    return bytes(message.data)


def nested(*attributes: tuple[str, Any]) -> dict[str, Any]:
    return {"attrs": list(attributes)}


def packed(address: str) -> bytes:
    return bytes.fromhex(address.replace(":", "")) if ":" in address else socket.inet_aton(address)


def device(name: str, mac: str, mtu: int) -> list[tuple[str, Any]]:
    return [("IFLA_IFNAME", name), ("IFLA_ADDRESS", mac), ("IFLA_MTU", mtu)]


def queueing(gso: int, queue: int) -> list[tuple[str, Any]]:
    return [("IFLA_GSO_MAX_SIZE", gso), ("IFLA_TXQLEN", queue)]


ONE_QUEUE = [("IFLA_NUM_TX_QUEUES", 1), ("IFLA_NUM_RX_QUEUES", 1)]
# Names fill the field that holds them: pyroute2 does not pad, which the kernel does not mind.
NAME, PEER = "a" * 15, "b" * 15


def veth() -> tuple[bytearray, bytes]:
    ours = messages.veth().fill(
        1001, NAME.encode(), packed(MAC), 9000, 16384, 100, 7,
        1002, PEER.encode(), packed(PEER_MAC), 1500, 65536, 200, 33,
    )  # fmt: skip
    peer = nested(
        *device(PEER, PEER_MAC, 1500), *queueing(65536, 200), *ONE_QUEUE, ("IFLA_NET_NS_FD", 33)
    )
    data = nested(("VETH_INFO_PEER", peer | {"index": 1002}))
    info = nested(("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", data))
    return ours, theirs(
        ifinfmsg, rtnl.RTM_NEWLINK, NEW, {"index": 1001}, *device(NAME, MAC, 9000),
        *queueing(16384, 100), *ONE_QUEUE, ("IFLA_MASTER", 7), ("IFLA_LINKINFO", info),
    )  # fmt: skip


def ifb() -> tuple[bytearray, bytes]:
    ours = messages.ifb().fill(1001, NAME.encode(), packed(MAC), 9000, 16384, 100)
    info = nested(("IFLA_INFO_KIND", "ifb"))
    return ours, theirs(
        ifinfmsg, rtnl.RTM_NEWLINK, NEW, {"index": 1001}, *device(NAME, MAC, 9000),
        *queueing(16384, 100), ("IFLA_LINKINFO", info),
    )  # fmt: skip


def bridge() -> tuple[bytearray, bytes]:
    ours = messages.bridge().fill(1001, NAME.encode(), packed(MAC), 9000)
    data = nested(("IFLA_BR_STP_STATE", 0), ("IFLA_BR_MCAST_SNOOPING", 0))
    info = nested(("IFLA_INFO_KIND", "bridge"), ("IFLA_INFO_DATA", data))
    attributes = [*device(NAME, MAC, 9000), ("IFLA_LINKINFO", info)]
    return ours, theirs(ifinfmsg, rtnl.RTM_NEWLINK, NEW, {"index": 1001}, *attributes)


def master() -> tuple[bytearray, bytes]:
    ours = messages.master().fill(1001, 7)
    return ours, theirs(ifinfmsg, rtnl.RTM_NEWLINK, CHANGE, {"index": 1001}, ("IFLA_MASTER", 7))


def port() -> tuple[bytearray, bytes]:
    ours = messages.port().fill(1001, False, True, False, True)
    flags = ("LEARNING", "UNICAST_FLOOD", "MCAST_FLOOD", "BCAST_FLOOD")
    data = nested(*((f"IFLA_BRPORT_{flag}", i % 2) for i, flag in enumerate(flags)))
    info = nested(("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", data))
    return ours, theirs(
        ifinfmsg, rtnl.RTM_NEWLINK, CHANGE, {"index": 1001}, ("IFLA_LINKINFO", info)
    )


def up() -> tuple[bytearray, bytes]:
    fields = {"index": 1001, "flags": 1, "change": 1}
    return messages.up().fill(1001), theirs(ifinfmsg, rtnl.RTM_SETLINK, CHANGE, fields)


def get_link() -> tuple[bytearray, bytes]:
    return messages.get_link().fill(1001), theirs(
        ifinfmsg, rtnl.RTM_GETLINK, CHANGE, {"index": 1001}, ("IFLA_EXT_MASK", 8)
    )


def ipv4_address() -> tuple[bytearray, bytes]:
    local = "10.64.0.1"
    return messages.ipv4_address().fill(1001, 32, packed(local), packed(local)), theirs(
        ifaddrmsg, rtnl.RTM_NEWADDR, NEW,
        {"family": socket.AF_INET, "index": 1001, "prefixlen": 32},
        ("IFA_LOCAL", local), ("IFA_ADDRESS", local), ("IFA_FLAGS", 0x200),
    )  # fmt: skip


def route() -> tuple[bytearray, bytes]:
    ours = messages.route().fill(10, 100, packed("10.64.0.0"), 1001, packed("10.64.0.1"), 2000)
    fields = {
        "family": socket.AF_INET, "dst_len": 10, "scope": 253, "proto": 4, "type": 1
    }  # fmt: skip
    return ours, theirs(
        rtmsg, rtnl.RTM_NEWROUTE, NEW, fields, ("RTA_TABLE", 100), ("RTA_DST", "10.64.0.0"),
        ("RTA_OIF", 1001), ("RTA_PREFSRC", "10.64.0.1"),
        ("RTA_METRICS", nested(("RTAX_RTO_MIN", 2000))),
    )  # fmt: skip


def rule() -> tuple[bytearray, bytes]:
    ours = messages.rule().fill(32, 1000, packed("10.64.0.1"), 100)
    fields = {"family": socket.AF_INET, "src_len": 32, "action": 1}
    return ours, theirs(
        fibmsg, rtnl.RTM_NEWRULE, NEW, fields, ("FRA_PRIORITY", 1000), ("FRA_SRC", "10.64.0.1"),
        ("FRA_TABLE", 100),
    )  # fmt: skip


def neighbour() -> tuple[bytearray, bytes]:
    fields = {"family": socket.AF_INET, "ifindex": 1001, "state": 0x80}
    return messages.neighbour().fill(1001, packed("10.64.0.2"), packed(MAC)), theirs(
        ndmsg, rtnl.RTM_NEWNEIGH, NEW, fields, ("NDA_DST", "10.64.0.2"), ("NDA_LLADDR", MAC)
    )


def fdb_entry() -> tuple[bytearray, bytes]:
    fields = {"family": socket.AF_BRIDGE, "ifindex": 1001, "state": 0x40, "flags": 4}
    return messages.fdb_entry().fill(1001, packed(MAC)), theirs(
        ndmsg, rtnl.RTM_NEWNEIGH, NEW, fields, ("NDA_LLADDR", MAC)
    )


def traffic(kind: int, fields: dict[str, int], name: str, *options: tuple[str, Any]) -> bytes:
    fields = {"index": 1001} | fields
    listed = [("TCA_OPTIONS", nested(*options))] if options else []
    return theirs(TrafficControl, kind, NEW, fields, ("TCA_KIND", name), *listed)


def htb() -> tuple[bytearray, bytes]:
    init = {"version": 3, "rate2quantum": 10, "defcls": 0xF000}
    return shaper_messages.htb().fill(1001, 0x10000, 0xF000, 500), traffic(
        rtnl.RTM_NEWQDISC, {"handle": 0x10000, "parent": 0xFFFFFFFF}, "htb",
        ("TCA_HTB_INIT", init), ("TCA_HTB_DIRECT_QLEN", 500),
    )  # fmt: skip


def htb_class() -> tuple[bytearray, bytes]:
    parameters = {
        "rate": 1000, "ceil": 2000, "buffer": 30, "cbuffer": 40, "quantum": 9000, "prio": 7,
        # pyroute2 calls the byte with the link layer reserved.
        "rate___reserved": 1, "ceil___reserved": 1,
    }  # fmt: skip
    ours = shaper_messages.htb_class().fill(
        1001, 0x10101, 0x10010, 1000, 2000, 30, 40, 9000, 7, 2**33, 2**34
    )
    return ours, traffic(
        rtnl.RTM_NEWTCLASS, {"handle": 0x10101, "parent": 0x10010}, "htb",
        ("TCA_HTB_PARMS", parameters), ("TCA_HTB_RATE64", 2**33), ("TCA_HTB_CEIL64", 2**34),
    )  # fmt: skip


def leaf_queue() -> tuple[bytearray, bytes]:
    attributes = [("TCA_KIND", "pfifo"), ("TCA_OPTIONS", {"limit": 77})]
    fields = {"index": 1001, "parent": 0x10101}
    return shaper_messages.leaf_queue().fill(1001, 0x10101, 77), theirs(
        TrafficControl, rtnl.RTM_NEWQDISC, NEW, fields, *attributes
    )


def plain_qdisc() -> tuple[bytes, bytes]:
    fields = {"index": 1001, "parent": 0xFFFFFFFF}
    return shaper_messages.plain_qdisc(1001, "fq_codel"), theirs(
        tcmsg, rtnl.RTM_NEWQDISC, NEW, fields, ("TCA_KIND", "fq_codel")
    )


def selector(*keys: tuple[int, int, int]) -> bytes:
    head = struct.pack(">BBBxHhhhI", 1, 0, len(keys), 0, 0, 0, 0, 0)
    return head + b"".join(
        struct.pack(">II", mask, value) + struct.pack("=ii", offset, 0)
        for mask, value, offset in keys
    )


def u32(*keys: tuple[int, int, int]) -> tuple[bytearray, bytes]:
    flat = [number for key in keys for number in key]
    info = 1 << 16 | socket.htons(0x0800)
    ours = shaper_messages.u32(len(keys)).fill(1001, 5, 0x10010, info, 0x10101, *flat)
    return ours, traffic(
        rtnl.RTM_NEWTFILTER, {"handle": 5, "parent": 0x10010, "info": info}, "u32",
        ("TCA_U32_CLASSID", 0x10101), ("TCA_U32_SEL", selector(*keys)),
    )  # fmt: skip


def one_key() -> tuple[bytearray, bytes]:
    return u32((0x00FC0000, 0x00B80000, 0))


def two_keys() -> tuple[bytearray, bytes]:
    return u32((0x00FC0000, 0x00B80000, 0), (0xF, 3, 12))


def clsact() -> tuple[bytearray, bytes]:
    fields = {"handle": 0xFFFF0000, "parent": 0xFFFFFFF1}
    return shaper_messages.clsact().fill(1001), traffic(rtnl.RTM_NEWQDISC, fields, "clsact")


def redirect() -> tuple[bytearray, bytes]:
    info = 1 << 16 | socket.htons(0x0003)
    parameters = {"action": 4, "eaction": 1, "ifindex": 1002}
    action = nested(
        ("TCA_ACT_KIND", "mirred"), ("TCA_ACT_OPTIONS", nested(("TCA_MIRRED_PARMS", parameters)))
    )
    return shaper_messages.redirect().fill(1001, 0xFFFFFFF2, 1002), traffic(
        rtnl.RTM_NEWTFILTER, {"handle": 1, "parent": 0xFFFFFFF2, "info": info}, "u32",
        ("TCA_U32_SEL", selector()), ("TCA_U32_ACT", nested(("TCA_ACT_PRIO_1", action))),
    )  # fmt: skip


@pytest.mark.parametrize(
    "both",
    [
        veth, ifb, bridge, master, port, up, get_link, ipv4_address, route, rule, neighbour,
        fdb_entry, htb, htb_class, leaf_queue, plain_qdisc, u32, one_key, two_keys, clsact,
        redirect,
    ],
)  # fmt: skip
def test_a_message_is_what_pyroute2_makes_of_it(both: Any) -> None:
    ours, expected = both()
    assert bytes(ours).hex(" ", 4) == expected.hex(" ", 4)
