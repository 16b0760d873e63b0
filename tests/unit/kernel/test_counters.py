from __future__ import annotations

import msgspec

from testbed.kernel.counters import TCP_COUNTERS, _links, _tcp
from testbed.kernel.samples import LaneSample, LinkSample, MeterSample

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
