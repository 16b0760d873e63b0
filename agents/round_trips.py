"""Round trips under load, as TCP sees them: read from the sockets, so that no byte is added.

The kernel smooths them (RFC 6298); what waits in the shapers' queues is in them, and the time
until the receiver acknowledges.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from agents.records import RoundTripRecord

PERIOD_S = 0.5
# struct tcp_info of linux/tcp.h: tcpi_rtt and tcpi_rttvar; tcpi_min_rtt; all in µs.
_RTT, _MIN_RTT = struct.Struct("=68xII"), struct.Struct("=148xI")
_BYTES = _MIN_RTT.size


class Connection(NamedTuple):
    """A queue pair's socket.

    Args:
        source, target: memory domains, seen from this end.
        port: as in `TransferRecord`.
        sent_bytes: so far.
    """

    source: str
    target: str
    port: str
    socket: socket.socket
    sent_bytes: int


class RoundTrips:
    """Samples the connections that have sent something since they were last looked at."""

    def __init__(self) -> None:
        self._sent: dict[tuple[str, str, str], int] = {}

    def sample(self, now_s: float, connections: Iterable[Connection]) -> list[RoundTripRecord]:
        """One record for each busy connection."""
        records = []
        for one in connections:
            name = (one.source, one.target, one.port)
            if one.sent_bytes == self._sent.get(name, 0):
                continue
            self._sent[name] = one.sent_bytes
            found = tcp_round_trip(one.socket)
            records.append(RoundTripRecord(now_s, *name, found["smoothed_s"], found["least_s"]))
        return records


def tcp_round_trip(sock: socket.socket) -> Mapping[str, float]:
    """`smoothed_s` and `least_s` of a TCP connection, tcp(7) TCP_INFO."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES)
    smoothed, _ = _RTT.unpack_from(info)
    (least,) = _MIN_RTT.unpack_from(info)
    return {"smoothed_s": smoothed / 1e6, "least_s": least / 1e6}
