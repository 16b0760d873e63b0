"""A short write right behind a long one must be seen, although the low-water mark was high."""

from __future__ import annotations

import socket

from agents.wire.header import HELLO, LANES, WRITE, Header, encode
from agents.wire.receiver import Receiver
from agents.wire.transport import Completion


def _message(kind: int, sequence: int, key: int, payload: bytes) -> bytes:
    header = Header(
        kind, LANES["kv"], 0, 0, sequence, 0, 0, sequence, key, 0, len(payload), sequence, 0
    )
    return encode(header) + payload


def test_the_mark_falls_when_a_read_ends_at_a_header() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = socket.create_connection(server.getsockname())
        sock, _ = server.accept()
    with sender, sock:
        sock.setblocking(False)
        region = memoryview(bytearray(1 << 20))
        receiver = Receiver(sock, {7: region}, "", "")
        found: list[Completion] = []

        def pull_until(count: int) -> None:
            while len(found) < count:
                receiver.pull(found)

        sender.sendall(_message(HELLO, 0, 0, b"peer"))
        while not receiver.peer:
            receiver.pull(found)
        long, short = _message(WRITE, 1, 7, b"a" * 300_000), _message(WRITE, 2, 7, b"b" * 5_000)
        sender.sendall(long[:1000])
        while receiver._low_water_bytes == 1:
            receiver.pull(found)  # the mark rises while the long write is on its way
        sender.sendall(long[1000:] + short[:64])
        pull_until(1)
        receiver.pull(found)  # nothing more is there
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) <= 5_000
        sender.sendall(short[64:])
        pull_until(2)
