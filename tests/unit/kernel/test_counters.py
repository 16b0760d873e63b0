from __future__ import annotations

import struct

import msgspec
import pytest

from testbed.kernel.counters import TCP_COUNTERS, _chunks, _links, _Place, _stats, _tcp
from testbed.kernel.samples import LaneSample, LinkSample, MeterSample
from testbed.plan.compile import compile_plan
from topologies.single import SingleTopo

SNMP = """\
Ip: Forwarding DefaultTTL
Ip: 2 64
Tcp: RtoAlgorithm RtoMin OutSegs RetransSegs
Tcp: 1 200 1234 5
"""
NETSTAT = """\
TcpExt: SyncookiesSent TCPTimeouts TCPLossProbes
TcpExt: 0 7 8
IpExt: InNoRoutes OutSegs
IpExt: 0 99
"""
DEV = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo
    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16
 snic0: 100 2 3 4 5 6 7 8 900 10 11 12 13 14 15 16
"""


def test_tcp_counters_come_from_the_tcp_lines_alone() -> None:
    found = _tcp(SNMP.splitlines() + NETSTAT.splitlines())
    assert found == {"OutSegs": 1234, "RetransSegs": 5, "TCPTimeouts": 7, "TCPLossProbes": 8}
    assert found.keys() <= set(TCP_COUNTERS)


def test_link_counters() -> None:
    assert _links(DEV) == {"snic0": LinkSample(100, 2, 3, 4, 900, 10, 11, 12)}


def test_samples_survive_the_socket() -> None:
    lanes = {"kv": LaneSample(1, 2, 3), "unclassified": LaneSample(0, 0, 0)}
    sample = MeterSample(
        1.5, "pe0/snic0", "snic", "pe0", "prefill", "in", 10**8, 1, 2, 0, 3, 0, 0, 0, 0, 0, lanes
    )
    data = msgspec.msgpack.encode([sample])
    assert msgspec.msgpack.decode(data, type=list[MeterSample]) == [sample]


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


@pytest.mark.parametrize(("whole", "packets"), [(None, 7), ((1 << 32) + 7, (1 << 32) + 7)])
def test_packets_are_counted_beyond_what_32_bits_hold(whole: int | None, packets: int) -> None:
    """TCA_STATS_PKT64 is there once the 32-bit count has wrapped."""
    nested = attribute(1, struct.pack("=QI", 1 << 40, 7))
    nested += attribute(3, struct.pack("=IIIII", 1, 2, 3, 4, 5))
    if whole is not None:
        nested += attribute(8, struct.pack("=Q", whole))
    found = _stats({7: nested})
    assert (found.bytes, found.packets) == (1 << 40, packets)
    assert (found.queued, found.backlog_bytes, found.drops) == (1, 2, 3)
    assert (found.requeues, found.overlimits) == (4, 5)


def test_what_is_asked_at_once_fits_the_receive_buffer() -> None:
    meters = compile_plan(SingleTopo(7, bw=100)).meters
    places = [_Place(meter, (b"",) * (1 + len(meter.lanes))) for meter in meters]
    for limit in (1, 4, 9, 1000):
        chunks = list(_chunks(places, limit))
        assert [place for chunk in chunks for place in chunk] == places
        for chunk in chunks:
            assert sum(len(place.requests) for place in chunk) <= limit or len(chunk) == 1
        assert len(chunks) == {1: 14, 4: 14, 9: 7, 1000: 1}[limit]
