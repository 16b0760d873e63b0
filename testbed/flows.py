"""Plain TCP flows: a sink that measures and a source that sends, to load links with.

    python -m testbed.flows sink --bind 10.0.0.2 --connections 4 --seconds 5
    python -m testbed.flows source --to 10.0.0.2 --streams 2 --seconds 7

The sink prints one JSON object: the rate of every connection over the same window, which opens
`--settle` seconds after the last connection was made.  Payload only: headers are not counted.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

PORT = 5201
_PIECE_BYTES = 256 * 1024
_CONNECT_TIMEOUT_S = 30.0


class Received(NamedTuple):
    """What one connection carried in the window.

    Args:
        peer: IPv4 address of the sender.
        size_bytes: payload received.
    """

    peer: str
    size_bytes: int


class Window(NamedTuple):
    """What a sink saw.

    Args:
        seconds: length of the window.
        flows: one for each connection.
    """

    seconds: float
    flows: list[Received]

    @property
    def rate_bps(self) -> float:
        """Payload of all connections, in bit/s."""
        return sum(flow.size_bytes for flow in self.flows) * 8 / self.seconds


def sink(address: str, port: int, connections: int, settle_s: float, seconds: float) -> Window:
    """Accept `connections` flows and measure them over one window.

    Args:
        address, port: where to listen.
        settle_s: from the last connection to the opening of the window.
        seconds: length of the window.

    Raises:
        TimeoutError: not all connections came.
    """
    with socket.create_server((address, port), backlog=connections) as server:
        server.settimeout(_CONNECT_TIMEOUT_S)
        print("listening", file=sys.stderr, flush=True)
        counts = [0] * connections
        peers = []
        for index in range(connections):
            connection, (peer, _) = server.accept()
            peers.append(peer)
            threading.Thread(target=_drain, args=(connection, counts, index), daemon=True).start()
    time.sleep(settle_s)
    opened_s, before = time.monotonic(), list(counts)
    time.sleep(seconds)
    closed_s, after = time.monotonic(), list(counts)
    flows = [Received(p, b - a) for p, a, b in zip(peers, before, after, strict=True)]
    return Window(closed_s - opened_s, flows)


def _drain(connection: socket.socket, counts: list[int], index: int) -> None:
    buffer = bytearray(_PIECE_BYTES)
    while got := connection.recv_into(buffer):
        counts[index] += got


def source(
    target: str,
    port: int,
    streams: int,
    seconds: float,
    *,
    bind: str | None = None,
    tos: int | None = None,
) -> int:
    """Send on `streams` connections for `seconds`; returns the bytes handed to the kernel.

    Args:
        bind: local address, which decides the NIC (None leaves it to routing).
        tos: IP type of service, which decides the lane.
    """
    sent = [0] * streams
    until_s = time.monotonic() + seconds
    threads = []
    for index in range(streams):
        connection = socket.socket()
        if bind is not None:
            connection.bind((bind, 0))
        if tos is not None:
            connection.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
        connection.settimeout(_CONNECT_TIMEOUT_S)
        connection.connect((target, port))
        thread = threading.Thread(target=_fill, args=(connection, until_s, sent, index))
        thread.start()
        threads.append(thread)
    for thread in threads:
        thread.join()
    return sum(sent)


def _fill(connection: socket.socket, until_s: float, sent: list[int], index: int) -> None:
    piece = memoryview(bytes(_PIECE_BYTES))
    try:
        while time.monotonic() < until_s:
            sent[index] += connection.send(piece)
    except (BrokenPipeError, ConnectionResetError):
        pass  # the sink has measured what it wanted and left
    finally:
        connection.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m testbed.flows", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    sinks = verbs.add_parser("sink")
    sinks.add_argument("--bind", default="0.0.0.0")
    sinks.add_argument("--port", type=int, default=PORT)
    sinks.add_argument("--connections", type=int, default=1)
    sinks.add_argument("--settle", type=float, default=1.0)
    sinks.add_argument("--seconds", type=float, default=5.0)
    sources = verbs.add_parser("source")
    sources.add_argument("--to", required=True)
    sources.add_argument("--bind", default=None)
    sources.add_argument("--port", type=int, default=PORT)
    sources.add_argument("--streams", type=int, default=1)
    sources.add_argument("--seconds", type=float, default=7.0)
    sources.add_argument("--tos", type=lambda text: int(text, 0), default=None)
    told = parser.parse_args(arguments)
    if told.verb == "sink":
        seen = sink(told.bind, told.port, told.connections, told.settle, told.seconds)
        flows = [{"peer": f.peer, "rate_bps": f.size_bytes * 8 / seen.seconds} for f in seen.flows]
        print(json.dumps({"seconds": seen.seconds, "rate_bps": seen.rate_bps, "flows": flows}))
    else:
        sent = source(told.to, told.port, told.streams, told.seconds, bind=told.bind, tos=told.tos)
        print(json.dumps({"sent_bytes": sent}))


if __name__ == "__main__":
    main()
