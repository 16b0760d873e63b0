"""The wire's header as a scapy layer, for captures: made from the table in `agents.wire.header`.

A message does not begin where a TCP segment begins, so a capture is read in two steps:
`streams` puts the segments of each direction of each connection in order, `messages` walks the
headers of one of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from scapy.fields import (
    ByteEnumField,
    ByteField,
    IntEnumField,
    IntField,
    LongEnumField,
    LongField,
    ShortEnumField,
    ShortField,
    XLongField,
)
from scapy.layers.inet import IP, TCP
from scapy.packet import Packet, Padding

from agents.wire.header import FIELDS, HEADER_BYTES, MAGIC, VERSION, Field, HeaderError, decode

_PLAIN = {"B": ByteField, "H": ShortField, "I": IntField, "Q": LongField}
_NAMED = {"B": ByteEnumField, "H": ShortEnumField, "I": IntEnumField, "Q": LongEnumField}
_DEFAULTS = {"magic": MAGIC, "version": VERSION}
_RANDOM_LOOKING = ("key", "immediate", "digest")  # easier to compare in hexadecimal
_SEQUENCE_SPACE = 1 << 32


def _scapy_field(field: Field) -> Any:
    default = _DEFAULTS.get(field.name, 0)
    if field.names is not None:
        names = {number: name for name, number in field.names.items()}
        return _NAMED[field.code](field.name, default, names)
    if field.name in _RANDOM_LOOKING:
        return XLongField(field.name, default)
    return _PLAIN[field.code](field.name, default)


class KVHeader(Packet):  # type: ignore[misc]
    """One header; what follows it is payload."""

    name = "KVHeader"
    fields_desc = [_scapy_field(field) for field in FIELDS]

    def extract_padding(self, s: bytes) -> tuple[bytes, bytes]:
        """The payload is `length` bytes long; more than that is not this message's."""
        return s[: self.length], s[self.length :]


class Flow(NamedTuple):
    """One direction of a connection.

    `tos` holds every value of the IPv4 TOS byte (DSCP and ECN) that its segments carried.
    """

    source: str
    source_port: int
    target: str
    target_port: int


class Stream(NamedTuple):
    """The bytes of one direction of a connection, and the TOS bytes that carried them."""

    data: bytes
    tos: frozenset[int]


def streams(packets: Iterable[Any]) -> dict[Flow, Stream]:
    """The streams of a capture that holds the connections from their SYN on.

    Args:
        packets: as from scapy.rdpcap(), with Ethernet or IP outermost, in any order.

    Raises:
        HeaderError: a segment is missing, or the connection's start is.
    """
    starts: dict[Flow, int] = {}
    segments: dict[Flow, list[tuple[int, bytes]]] = {}
    tos: dict[Flow, set[int]] = {}
    for packet in packets:
        if TCP not in packet:
            continue
        ip, tcp = packet[IP], packet[TCP]
        flow = Flow(ip.src, tcp.sport, ip.dst, tcp.dport)
        if "S" in str(tcp.flags):
            starts[flow] = (tcp.seq + 1) % _SEQUENCE_SPACE
        # A short Ethernet frame is padded: IPv4 says how much is the segment's own.
        size = ip.len - 4 * ip.ihl - 4 * tcp.dataofs
        if size > 0:
            body = bytes(tcp.payload)[:size]
            if len(body) < size:
                raise HeaderError(f"{flow}: the capture has cut a segment of {size} bytes short")
            segments.setdefault(flow, []).append((tcp.seq, body))
            tos.setdefault(flow, set()).add(ip.tos)
    found = {}
    for flow, parts in segments.items():
        if flow not in starts:
            raise HeaderError(f"{flow}: the capture began after the connection")
        found[flow] = Stream(_in_order(flow, starts[flow], parts), frozenset(tos[flow]))
    return found


def _in_order(flow: Flow, start: int, parts: list[tuple[int, bytes]]) -> bytes:
    data = bytearray()
    for at, body in sorted(((seq - start) % _SEQUENCE_SPACE, body) for seq, body in parts):
        if at > len(data):
            raise HeaderError(f"{flow}: {at - len(data)} bytes are missing after {len(data)}")
        data += body[len(data) - at :]  # a retransmission repeats what is there
    return bytes(data)


def messages(data: bytes) -> Iterator[KVHeader]:
    """The messages of one stream, each with its payload; one cut off by the end is left out.

    Raises:
        HeaderError: the stream is not one of headers and payloads.
    """
    at = 0
    while at + HEADER_BYTES <= len(data):
        end = at + HEADER_BYTES + decode(data[at : at + HEADER_BYTES]).length
        if end > len(data):
            return
        message = KVHeader(data[at:end])
        assert Padding not in message
        yield message
        at = end
