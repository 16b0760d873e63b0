"""The program that loads links for a calibration: all ends of all flows, in one process.

    python -m testbed.fidelity.loading ROUNDS      (JSON: lists of flows; needs the socket broker)

Of each round: connect, send small messages to and fro while nothing else is on the links, then
send as much as they take and count what arrives, in slices of a window.  It prints one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import selectors
import socket
import time
from collections.abc import Sequence
from typing import Any

from testbed.sandbox.sockets import Broker

_PORT = 5301
_PINGS = 15
_PING_BYTES = 64
_PIECE_BYTES = 256 * 1024
_BUFFER_BYTES = 128 * 1024  # for sending: what waits here must leave before the next round
_PATIENCE_S = 5.0


class _End:
    """The receiving end of a flow: how much had come when."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.total = 0
        self.arrivals: list[tuple[float, int]] = []

    def take(self, buffer: memoryview) -> None:
        self.total += self.socket.recv_into(buffer)
        self.arrivals.append((time.monotonic(), self.total))


def load(
    broker: Broker, flows: Sequence[Sequence[str]], settle_s: float, window_s: float, slices: int
) -> dict[str, Any]:
    """One round.

    Args:
        broker: makes the sockets.
        flows: source domain and address, target domain and address.
        settle_s: from the first byte to the opening of the window.
        window_s: its length.
        slices: equal parts that it is counted in.

    Returns:
        For each flow: its round trips in seconds, all bytes that crossed it, and those that had
        arrived at each edge between the slices.  Of all: `busy_share`, how much of the time this
        program was not waiting for a socket.
    """
    pairs = [_connect(broker, flow, _PORT + number) for number, flow in enumerate(flows)]
    try:
        trips = [_round_trips(near, far) for near, far in pairs]
        ends = [_End(far) for _, far in pairs]
        open_s = time.monotonic() + settle_s
        began_s = time.monotonic()
        waited_s = _fill(ends, [near for near, _ in pairs], open_s + window_s)
        busy_share = 1 - waited_s / (time.monotonic() - began_s)
        _drain(ends, [near for near, _ in pairs])
    finally:
        for near, far in pairs:
            near.close()
            far.close()
    edges_s = [open_s + window_s * number / slices for number in range(slices + 1)]
    return {
        "busy_share": [busy_share] * len(ends),
        "round_trips_s": trips,
        "total_bytes": [_PINGS * _PING_BYTES + end.total for end in ends],
        "arrived_bytes": [[_by_then(end.arrivals, edge) for edge in edges_s] for end in ends],
    }


def _connect(broker: Broker, flow: Sequence[str], port: int) -> tuple[socket.socket, socket.socket]:
    source, source_address, target, target_address = flow
    (listening,) = broker.sockets(target)
    (near,) = broker.sockets(source)
    with listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((target_address, port))
        listening.listen(1)
        listening.settimeout(_PATIENCE_S)
        near.settimeout(_PATIENCE_S)
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        near.bind((source_address, 0))
        near.connect((target_address, port))
        far, _ = listening.accept()
    far.settimeout(_PATIENCE_S)
    for end in (near, far):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return near, far


def _round_trips(near: socket.socket, far: socket.socket) -> list[float]:
    """Of small messages, one after the other on an idle link."""
    trips = []
    message = bytes(_PING_BYTES)
    for _ in range(_PINGS):
        began_s = time.monotonic()
        near.sendall(message)
        far.sendall(far.recv(_PING_BYTES, socket.MSG_WAITALL))
        near.recv(_PING_BYTES, socket.MSG_WAITALL)
        trips.append(time.monotonic() - began_s)
    return trips


def _fill(ends: Sequence[_End], senders: Sequence[socket.socket], until_s: float) -> float:
    """Send as much as is taken, and take what comes; how long there was nothing to do."""
    waited_s = 0.0
    piece, buffer = memoryview(bytes(_PIECE_BYTES)), memoryview(bytearray(_PIECE_BYTES))
    with selectors.DefaultSelector() as selector:
        for end in ends:
            end.socket.setblocking(False)
            selector.register(end.socket, selectors.EVENT_READ, end)
        for sender in senders:
            sender.setblocking(False)
            selector.register(sender, selectors.EVENT_WRITE, None)
        while (now_s := time.monotonic()) < until_s:
            ready = selector.select(until_s - now_s)
            waited_s += time.monotonic() - now_s
            for key, _ in ready:
                if key.data is None:
                    _send(key.fileobj, piece)
                else:
                    key.data.take(buffer)
    return waited_s


def _send(sender: Any, piece: memoryview) -> None:
    with contextlib.suppress(BlockingIOError):
        sender.send(piece)


def _drain(ends: Sequence[_End], senders: Sequence[socket.socket]) -> None:
    """Take the rest, so that the links are idle again."""
    buffer = memoryview(bytearray(_PIECE_BYTES))
    for sender in senders:
        sender.shutdown(socket.SHUT_WR)
    for end in ends:
        end.socket.settimeout(_PATIENCE_S)
        while got := end.socket.recv_into(buffer):
            end.total += got
            end.arrivals.append((time.monotonic(), end.total))


def _by_then(arrivals: Sequence[tuple[float, int]], when_s: float) -> float:
    """Bytes that had arrived at a moment, evenly between two arrivals."""
    before = (0.0, 0)
    for after in arrivals:
        if after[0] >= when_s:
            if not before[1]:
                return 0.0
            share = (when_s - before[0]) / max(1e-9, after[0] - before[0])
            return before[1] + share * (after[1] - before[1])
        before = after
    return float(before[1])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m testbed.fidelity.loading", description=__doc__)
    parser.add_argument("rounds", type=json.loads)
    parser.add_argument("--settle", type=float, required=True)
    parser.add_argument("--window", type=float, required=True)
    parser.add_argument("--slices", type=int, required=True)
    told = parser.parse_args()
    broker = Broker.from_environment()
    found = [load(broker, flows, told.settle, told.window, told.slices) for flows in told.rounds]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
