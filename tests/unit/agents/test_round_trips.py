from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from agents.round_trips import Connection, RoundTrips, tcp_round_trip


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection over the loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    yield near, far
    near.close()
    far.close()


def test_the_kernel_tells_a_round_trip(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    near.sendall(b"x" * 1000)
    assert far.recv(1000, socket.MSG_WAITALL)
    far.sendall(b"y")  # acknowledges at the latest now
    assert near.recv(1)
    found = tcp_round_trip(near)
    assert 0 < found["least_s"] < 1
    assert 0 < found["smoothed_s"] < 1


def test_only_connections_that_have_sent_since_are_sampled(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    near, _ = pair
    trips = RoundTrips()

    def sample(sent_bytes: int) -> int:
        return len(trips.sample(1.0, [Connection("pe0", "st0", "snic0", near, sent_bytes)]))

    assert [sample(0), sample(10), sample(10), sample(11)] == [0, 1, 0, 1]
