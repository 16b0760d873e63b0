"""The scapy layer is the header's table, and a capture can be read with it."""

from __future__ import annotations

import random

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from agents.dissect import Flow, KVHeader, messages, streams
from agents.wire.header import (
    FIELDS,
    HEADER_BYTES,
    HELLO,
    LANE_TOS,
    LANES,
    PATHS,
    WRITE,
    Header,
    HeaderError,
    encode,
)

FLOW = Flow("10.1.0.1", 40_000, "10.1.0.9", 7100)
START = 2**32 - 1000  # sequence numbers wrap on the way
KV = random.Random(1).randbytes(5000)


def header(kind: int, length: int, sequence: int, **values: int) -> bytes:
    blank = Header(kind, LANES["kv"], PATHS["de"], 0, sequence, 0, 0, 0, 0, 0, length, 0, 0)
    return encode(blank._replace(**values))


STREAM = (
    header(HELLO, 3, 0)
    + b"pe0"
    + header(WRITE, len(KV), 1, request=77, layer_first=8, layer_count=4, digest=2**63)
    + KV
    + header(WRITE, 0, 2, immediate=5)
)


def segment(at: int, data: bytes, flags: str = "PA") -> Packet:
    tcp = TCP(sport=FLOW.source_port, dport=FLOW.target_port, seq=(START + at) % 2**32, flags=flags)
    packet = Ether() / IP(src=FLOW.source, dst=FLOW.target, tos=LANE_TOS["kv"]) / tcp / data
    return Ether(bytes(packet) + b"\0" * max(0, 60 - len(packet)))  # as a NIC pads it


def capture(size: int = 1400) -> list[Packet]:
    """SYN, then the stream in segments of at most `size` bytes."""
    parts = [segment(1 + at, STREAM[at : at + size]) for at in range(0, len(STREAM), size)]
    return [segment(0, b"", "S"), *parts]


def test_the_layer_is_the_table() -> None:
    packet = KVHeader(STREAM[HEADER_BYTES + 3 :][:HEADER_BYTES])
    assert [field.name for field in packet.fields_desc] == [field.name for field in FIELDS]
    assert len(KVHeader()) == HEADER_BYTES
    assert packet.request == 77
    assert packet.layer_first == 8
    assert packet.sprintf("%kind% %lane% %path%") == "write kv de"
    assert bytes(packet) == STREAM[HEADER_BYTES + 3 :][:HEADER_BYTES]


def test_messages_of_a_stream() -> None:
    hello, write, empty = messages(STREAM)
    assert bytes(hello.payload) == b"pe0"
    assert bytes(write.payload) == KV
    assert (write.request, write.layer_first, write.layer_count) == (77, 8, 4)
    assert empty.immediate == 5
    assert bytes(empty.payload) == b""
    assert len(list(messages(STREAM[:-1]))) == 2


def test_a_stream_of_something_else_is_refused() -> None:
    with pytest.raises(HeaderError, match="not a header"):
        list(messages(b"GET / HTTP/1.1\r\n".ljust(200)))


@pytest.mark.parametrize("size", [29, 1400, 60_000])
def test_a_capture_in_any_order(size: int) -> None:
    packets = capture(size)
    random.Random(2).shuffle(packets)
    packets += packets[:3]  # retransmitted
    (flow,) = found = streams(packets)
    assert flow == FLOW
    assert found[flow].data == STREAM
    assert found[flow].tos == {LANE_TOS["kv"]}


def test_a_capture_with_a_gap_is_refused() -> None:
    packets = capture()
    with pytest.raises(HeaderError, match="1400 bytes are missing after 1400"):
        streams(packets[:2] + packets[3:])
    with pytest.raises(HeaderError, match="began after"):
        streams(packets[1:])


def test_a_capture_of_headers_only_is_refused() -> None:
    packets = [Ether(bytes(packet)[:96]) for packet in capture()]
    with pytest.raises(HeaderError, match="cut a segment of 1400 bytes short"):
        streams(packets)


def test_other_traffic_is_left_out() -> None:
    assert streams([Ether() / IP(), segment(0, b"", "S")]) == {}
