"""The shape of every message that shapes traffic (tc(8)).

Class ids are (major << 16 | minor); integers are in host order.
"""

from __future__ import annotations

import functools
import socket
import struct
from typing import Any

from pyroute2.netlink import nla
from pyroute2.netlink.rtnl import RTM_NEWQDISC, RTM_NEWTCLASS, RTM_NEWTFILTER
from pyroute2.netlink.rtnl.tcmsg import cls_u32, sched_htb, sched_pfifo, tcmsg

from testbed.kernel.messages import NEW, encoded, nested
from testbed.kernel.template import Template, integer

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


@functools.cache
def htb() -> Template:
    """An HTB qdisc at the root of a device."""

    def encode(index: int, handle: int, default_class: int, direct_queue: int) -> bytes:
        init = {"version": 3, "rate2quantum": HTB_RATE2QUANTUM, "defcls": default_class}
        options = nested(("TCA_HTB_INIT", init), ("TCA_HTB_DIRECT_QLEN", direct_queue))
        return encoded(
            _TrafficControl, RTM_NEWQDISC, NEW,
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
        options = nested(
            ("TCA_HTB_PARMS", parameters),
            ("TCA_HTB_RATE64", v["rate64"]),
            ("TCA_HTB_CEIL64", v["ceil64"]),
        )
        return encoded(
            _TrafficControl, RTM_NEWTCLASS, NEW,
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
        return encoded(
            _TrafficControl, RTM_NEWQDISC, NEW, {"index": index, "parent": parent},
            [("TCA_KIND", "pfifo"), ("TCA_OPTIONS", {"limit": packets})],
        )  # fmt: skip

    return Template(encode, [integer("index"), integer("parent"), integer("packets")])


def plain_qdisc(index: int, kind: str) -> bytes:
    """A root qdisc of any kind, without options; not a template, as it is no part of a plan."""
    fields = {"index": index, "parent": TC_H_ROOT}
    return encoded(tcmsg, RTM_NEWQDISC, NEW, fields, [("TCA_KIND", kind)])


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
        options = nested(("TCA_U32_CLASSID", v["classid"]), ("TCA_U32_SEL", selector))
        return encoded(
            _TrafficControl, RTM_NEWTFILTER, NEW,
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
        return encoded(_TrafficControl, RTM_NEWQDISC, NEW, fields, [("TCA_KIND", "clsact")])

    return Template(encode, [integer("index")])


@functools.cache
def redirect() -> Template:
    """Everything that passes a clsact hook is sent through another device (tc-mirred(8))."""

    def encode(index: int, parent: int, target: int) -> bytes:
        info = 1 << 16 | socket.htons(ETH_P_ALL)
        parameters = {"action": TC_ACT_STOLEN, "eaction": TCA_EGRESS_REDIR, "ifindex": target}
        action = nested(
            ("TCA_ACT_KIND", "mirred"),
            ("TCA_ACT_OPTIONS", nested(("TCA_MIRRED_PARMS", parameters))),
        )
        options = nested(
            ("TCA_U32_SEL", _selector([])), ("TCA_U32_ACT", nested(("TCA_ACT_PRIO_1", action)))
        )
        return encoded(
            _TrafficControl, RTM_NEWTFILTER, NEW,
            {"index": index, "handle": 1, "parent": parent, "info": info},
            [("TCA_KIND", "u32"), ("TCA_OPTIONS", options)],
        )  # fmt: skip

    return Template(encode, [integer("index"), integer("parent"), integer("target")])
