"""The shape of every message that shapes traffic (tc(8)).

Class ids are (major << 16 | minor); integers are in host order.
"""

from __future__ import annotations

import functools
import socket
import struct

from testbed.kernel.encoding import (
    NESTED,
    NEW,
    RTM_NEWQDISC,
    RTM_NEWTCLASS,
    RTM_NEWTFILTER,
    attribute,
    message,
    text,
    uint32,
    uint64,
)
from testbed.kernel.template import Template, integer

TC_H_ROOT, TC_H_CLSACT = 0xFFFFFFFF, 0xFFFFFFF1
CLSACT_HANDLE = 0xFFFF0000
CLSACT_PARENT = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}  # linux/pkt_sched.h
TC_LINKLAYER_ETHERNET = 1  # no rate table wanted: the kernel computes with the rate itself
TC_U32_TERMINAL = 1
TCA_EGRESS_REDIR, TC_ACT_STOLEN = 1, 4
ETH_P_IP, ETH_P_ALL = 0x0800, 0x0003
HTB_RATE2QUANTUM = 10  # tc's default; unused, as every class states its quantum

# linux/pkt_sched.h, linux/pkt_cls.h, linux/tc_act/tc_mirred.h
_TCA_KIND, _TCA_OPTIONS = 1, 2
HTB_PARMS, HTB_INIT, HTB_DIRECT_QLEN, HTB_RATE64, HTB_CEIL64, HTB_OFFLOAD = 1, 2, 5, 6, 7, 9
U32_CLASSID, U32_SEL, U32_ACT = 1, 5, 7
_ACT_PRIO_1, ACT_KIND, ACT_OPTIONS, MIRRED_PARMS = 1, 1, 2, 2
_TRAFFIC = struct.Struct("=BxxxiIII")  # struct tcmsg: index, handle, parent, info
# Twice cell_log, linklayer, overhead, cell_align, mpu, rate; then buffer … (struct tc_htb_opt).
HTB_CLASS = struct.Struct("=BBHhHI BBHhHI IIIII".replace(" ", ""))
HTB_GLOBAL = struct.Struct("=IIIII")  # version, rate2quantum, default, debug, direct packets
MIRRED = struct.Struct("=IIiiiiI")  # struct tc_mirred


def _traffic(
    kind: int, discipline: bytes, index: int, handle: int, parent: int, info: int = 0,
    options: bytes = b"",
) -> bytes:  # fmt: skip
    """A message about a qdisc, a class or a filter of a discipline."""
    fixed = _TRAFFIC.pack(socket.AF_UNSPEC, index, handle, parent, info)
    listed = attribute(_TCA_OPTIONS, options) if options else b""
    return message(kind, NEW, fixed, text(_TCA_KIND, discipline), listed)


@functools.cache
def htb() -> Template:
    """An HTB qdisc at the root of a device."""

    def encode(index: int, handle: int, default_class: int, direct_queue: int) -> bytes:
        init = attribute(HTB_INIT, HTB_GLOBAL.pack(3, HTB_RATE2QUANTUM, default_class, 0, 0))
        options = init + uint32(HTB_DIRECT_QLEN, direct_queue)
        return _traffic(RTM_NEWQDISC, b"htb", index, handle, TC_H_ROOT, options=options)

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
        parameters = HTB_CLASS.pack(
            0, TC_LINKLAYER_ETHERNET, 0, 0, 0, v["rate"],
            0, TC_LINKLAYER_ETHERNET, 0, 0, 0, v["ceil"],
            v["burst"], v["ceil_burst"], v["quantum"], 0, v["priority"],
        )  # fmt: skip
        options = attribute(HTB_PARMS, parameters)
        options += uint64(HTB_RATE64, v["rate64"]) + uint64(HTB_CEIL64, v["ceil64"])
        return _traffic(
            RTM_NEWTCLASS, b"htb", v["index"], v["handle"], v["parent"], options=options
        )

    return Template(
        encode, [*map(integer, names), integer("rate64", "=Q"), integer("ceil64", "=Q")]
    )


@functools.cache
def leaf_queue() -> Template:
    """A packet FIFO below a class, where its depth is not the device's own queue length."""

    def encode(index: int, parent: int, packets: int) -> bytes:
        options = struct.pack("=I", packets)  # struct tc_fifo_qopt
        return _traffic(RTM_NEWQDISC, b"pfifo", index, 0, parent, options=options)

    return Template(encode, [integer("index"), integer("parent"), integer("packets")])


def plain_qdisc(index: int, kind: str) -> bytes:
    """A root qdisc of any kind, without options; not a template, as it is no part of a plan."""
    return _traffic(RTM_NEWQDISC, kind.encode(), index, 0, TC_H_ROOT)


def _selector(keys: list[tuple[int, int, int]]) -> bytes:
    """A tc_u32_sel with its keys (mask, value, offset); without a key everything matches."""
    head = struct.pack(">BBBxHhhhI", TC_U32_TERMINAL, 0, len(keys), 0, 0, 0, 0, 0)
    listed = [
        struct.pack(">II", mask, value) + struct.pack("=ii", offset, 0)
        for mask, value, offset in keys
    ]
    return attribute(U32_SEL, head, *listed)


@functools.cache
def u32(keys: int) -> Template:
    """A filter of IPv4 packets with this number of keys, leading to a class (tc-u32(8))."""

    def encode(**v: int) -> bytes:
        selector = _selector([(v[f"mask{i}"], v[f"value{i}"], v[f"at{i}"]) for i in range(keys)])
        return _traffic(
            RTM_NEWTFILTER, b"u32", v["index"], v["handle"], v["parent"], v["info"],
            uint32(U32_CLASSID, v["classid"]) + selector,
        )  # fmt: skip

    fields = [integer(name) for name in ("index", "handle", "parent", "info", "classid")]
    for i in range(keys):
        fields += [integer(f"mask{i}", ">I"), integer(f"value{i}", ">I"), integer(f"at{i}")]
    return Template(encode, fields)


@functools.cache
def clsact() -> Template:
    """The qdisc that carries filters for what enters and leaves a device."""

    def encode(index: int) -> bytes:
        return _traffic(RTM_NEWQDISC, b"clsact", index, CLSACT_HANDLE, TC_H_CLSACT)

    return Template(encode, [integer("index")])


@functools.cache
def redirect() -> Template:
    """Everything that passes a clsact hook is sent through another device (tc-mirred(8))."""

    def encode(index: int, parent: int, target: int) -> bytes:
        info = 1 << 16 | socket.htons(ETH_P_ALL)
        parameters = MIRRED.pack(0, 0, TC_ACT_STOLEN, 0, 0, TCA_EGRESS_REDIR, target)
        mirred = attribute(ACT_OPTIONS | NESTED, attribute(MIRRED_PARMS, parameters))
        action = attribute(_ACT_PRIO_1, text(ACT_KIND, b"mirred"), mirred)
        options = _selector([]) + attribute(U32_ACT, action)
        return _traffic(RTM_NEWTFILTER, b"u32", index, 1, parent, info, options)

    return Template(encode, [integer("index"), integer("parent"), integer("target")])
