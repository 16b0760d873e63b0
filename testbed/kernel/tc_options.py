"""The options of qdiscs, classes, filters and actions, decoded (linux/pkt_sched.h, pkt_cls.h)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from testbed.kernel import shaper_messages as messages
from testbed.kernel.attributes import attributes, text, uint32, uint64

_U32_HASH, _U32_DIVISOR, _U32_PCNT, _U32_FLAGS = 2, 4, 9, 11
_U32_ATTRIBUTES = {
    messages.U32_CLASSID, _U32_HASH, messages.U32_SEL, messages.U32_ACT, _U32_PCNT, _U32_FLAGS,
}  # fmt: skip
_U32_SELECTOR = struct.Struct(">BBBxHHhhI")
_U32_KEY = struct.Struct(">IIii")
_SOURCE_OFFSET, _TOS_MASK = 12, 0x00FF0000


class Match(NamedTuple):
    """What a u32 filter matches, and where it leads."""

    tos: int
    tos_mask: int
    source: int
    source_mask: int
    classid: int
    target: int | None  # the index of the device that it redirects to
    odd: tuple[str, ...]


# Rate, ceiling (bit/s), burst, ceiling's burst (ticks), quantum (bytes), priority; what is odd.
Contract = tuple[tuple[int, int, int, int, int, int], tuple[str, ...]]


class Decoder:
    """Decodes options; equal ones once, and in a cluster most are equal."""

    def __init__(self) -> None:
        self._classes: dict[bytes, Contract] = {}
        self._matches: dict[bytes, Match] = {}

    def htb_class(self, options: bytes) -> Contract:
        """Rate and ceiling (bit/s), bursts (ticks), quantum, priority; and what is odd."""
        decoded = self._classes.get(options)
        if decoded is None:
            decoded = self._classes[options] = _htb_class(options)
        return decoded

    def u32(self, options: bytes) -> Match:
        """What a filter matches, where it leads, and what is odd."""
        decoded = self._matches.get(options)
        if decoded is None:
            decoded = self._matches[options] = _u32(options)
        return decoded


def _htb_class(options: bytes) -> Contract:
    found = attributes(options)
    unpacked = messages.HTB_CLASS.unpack_from(found[messages.HTB_PARMS])
    _, rate_layer, rate_overhead, _, rate_mpu, rate = unpacked[:6]
    _, ceil_layer, ceil_overhead, _, ceil_mpu, ceil = unpacked[6:12]
    burst, ceil_burst, quantum, _level, priority = unpacked[12:]
    rate = uint64(found.get(messages.HTB_RATE64)) or rate
    ceil = uint64(found.get(messages.HTB_CEIL64)) or ceil
    odd = []
    if rate_overhead or ceil_overhead or rate_mpu or ceil_mpu:
        odd.append(f"overhead {rate_overhead}, least packet {rate_mpu}")
    if {rate_layer, ceil_layer} - {messages.TC_LINKLAYER_ETHERNET}:
        odd.append(f"link layer {rate_layer}")
    if messages.HTB_OFFLOAD in found:
        odd.append("offload")
    return (rate * 8, ceil * 8, burst, ceil_burst, quantum, priority), tuple(odd)


def _u32(options: bytes) -> Match:
    found = attributes(options)
    odd = [f"u32 attribute {n}" for n in sorted(found.keys() - _U32_ATTRIBUTES)]
    tos = tos_mask = source = source_mask = 0
    selector = found.get(messages.U32_SEL, bytes(_U32_SELECTOR.size))
    flags, shift, count, *offsets = _U32_SELECTOR.unpack_from(selector)
    if flags != messages.TC_U32_TERMINAL or shift or any(offsets):
        odd.append(f"selector flags {flags}")
    for at in range(_U32_SELECTOR.size, _U32_SELECTOR.size + count * _U32_KEY.size, _U32_KEY.size):
        mask, value, *_ = _U32_KEY.unpack_from(selector, at)
        offset, offset_mask = struct.unpack_from("=ii", selector, at + 8)
        if not mask:
            continue
        if offset == 0 and not mask & ~_TOS_MASK and not tos_mask and not offset_mask:
            tos, tos_mask = value >> 16, mask >> 16
        elif offset == _SOURCE_OFFSET and not source_mask and not offset_mask:
            source, source_mask = value, mask
        else:
            odd.append(f"match {value:08x}/{mask:08x} at {offset}")
    target = None
    if messages.U32_ACT in found:
        target = _redirect_target(found[messages.U32_ACT])
        if target is None:
            odd.append("an action that is no plain redirect")
    classid = uint32(found.get(messages.U32_CLASSID)) or 0
    return Match(tos, tos_mask, source, source_mask, classid, target, tuple(odd))


def _redirect_target(actions: bytes) -> int | None:
    """The device that the one action redirects to; None if it does anything else."""
    listed = list(attributes(actions).values())
    action = attributes(listed[0]) if len(listed) == 1 else {}
    if text(action.get(messages.ACT_KIND)) != "mirred":
        return None
    parameters = attributes(action.get(messages.ACT_OPTIONS, b"")).get(messages.MIRRED_PARMS, b"")
    _, _, verdict, _, _, how, target = messages.MIRRED.unpack_from(parameters)
    if verdict != messages.TC_ACT_STOLEN or how != messages.TCA_EGRESS_REDIR:
        return None
    return int(target)


def is_own_table(options: bytes) -> bool:
    """The one-bucket hash table that each u32 classifier has by itself."""
    found = attributes(options)
    return found.keys() <= {_U32_DIVISOR, _U32_FLAGS} and uint32(found.get(_U32_DIVISOR)) == 1
