"""Reading the attributes of a netlink message (RFC 3549 section 2.2), fast.

A general library takes fifty microseconds for a message; reading a cluster back is thousands
of them.
"""

from __future__ import annotations

import socket
import struct

_HEADER = struct.Struct("=HH")
_TYPE_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
_UINT8, _UINT32, _INT32, _UINT64 = (struct.Struct(f"={code}") for code in "BIiQ")


def attributes(data: bytes, start: int = 0) -> dict[int, bytes]:
    """Number -> value of the attributes from `start` to the end of `data`.

    Raises:
        ValueError: the attributes do not add up to the length of `data`.
    """
    found = {}
    unpack = _HEADER.unpack_from
    end = len(data)
    while start + 4 <= end:
        length, kind = unpack(data, start)
        if length < 4 or start + length > end:
            raise ValueError(f"attribute {kind} of {length} bytes at {start} of {end}")
        found[kind & _TYPE_MASK] = data[start + 4 : start + length]
        start += length + 3 & ~3
    return found


def uint8(value: bytes | None) -> int | None:
    """The integer in an attribute, None if there is none."""
    return None if value is None else int(_UINT8.unpack_from(value)[0])


def uint32(value: bytes | None) -> int | None:
    """The integer in an attribute, None if there is none."""
    return None if value is None else int(_UINT32.unpack_from(value)[0])


def uint64(value: bytes | None) -> int | None:
    """The integer in an attribute, None if there is none."""
    return None if value is None else int(_UINT64.unpack_from(value)[0])


def text(value: bytes | None) -> str:
    """The zero-terminated string in an attribute, "" if there is none."""
    return "" if value is None else value.split(b"\0", 1)[0].decode(errors="replace")


class _Macs(dict[bytes, str]):
    def __missing__(self, packed: bytes) -> str:
        shown = self[packed] = packed.hex(":")
        return shown


class _Addresses(dict[bytes, str]):
    def __missing__(self, packed: bytes) -> str:
        family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
        shown = self[packed] = socket.inet_ntop(family, packed)
        return shown


class Names:
    """Addresses as text; each is converted once."""

    def __init__(self) -> None:
        self.mac: dict[bytes, str] = _Macs()
        self.ip: dict[bytes, str] = _Addresses()
