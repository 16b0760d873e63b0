"""Writing netlink messages: header, fixed part, attributes (netlink(7), RFC 3549 section 2).

A general library does this too, but takes longer to import than a cluster takes to have its
addresses.  The tests compare every shape of message with what pyroute2 makes of it.
"""

from __future__ import annotations

import struct

NLM_F_REQUEST, NLM_F_EXCL, NLM_F_CREATE = 0x1, 0x200, 0x400
CHANGE = NLM_F_REQUEST
NEW = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL
# linux/rtnetlink.h
RTM_NEWLINK, RTM_GETLINK, RTM_SETLINK = 16, 18, 19
RTM_NEWADDR, RTM_GETADDR = 20, 22
RTM_NEWROUTE, RTM_GETROUTE = 24, 26
RTM_NEWNEIGH, RTM_GETNEIGH = 28, 30
RTM_NEWRULE, RTM_GETRULE = 32, 34
RTM_NEWQDISC, RTM_GETQDISC = 36, 38
RTM_NEWTCLASS, RTM_GETTCLASS = 40, 42
RTM_NEWTFILTER, RTM_GETTFILTER = 44, 46

NESTED = 0x8000  # NLA_F_NESTED
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence number, port id
_ATTRIBUTE = struct.Struct("=HH")


def message(kind: int, flags: int, fixed: bytes, *attributes: bytes) -> bytes:
    """One message; its sequence number is filled in when it is sent."""
    body = b"".join((fixed, *attributes))
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, 0, 0) + body


def question(kind: int, fixed: bytes, *attributes: bytes) -> bytes:
    """A message that asks for objects; its flags, too, are filled in when it is sent."""
    return message(kind, 0, fixed, *attributes)


def attribute(kind: int, *parts: bytes) -> bytes:
    """An attribute, padded; its value may be made of attributes."""
    value = b"".join(parts)
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def uint8(kind: int, value: int) -> bytes:
    """An attribute that is an integer of one byte."""
    return attribute(kind, struct.pack("=B", value))


def uint32(kind: int, value: int) -> bytes:
    """An attribute that is an integer of four bytes."""
    return attribute(kind, struct.pack("=I", value))


def uint64(kind: int, value: int) -> bytes:
    """An attribute that is an integer of eight bytes."""
    return attribute(kind, struct.pack("=Q", value))


def text(kind: int, value: bytes) -> bytes:
    """An attribute that is a zero-terminated string."""
    return attribute(kind, value, b"\0")
