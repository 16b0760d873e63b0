"""How queue pairs come up: listening and calling on the data ports of a memory domain."""

from __future__ import annotations

import socket

from agents.ports import DATA_PORT, Ports
from agents.wire.transport import QueuePair

_CONNECT_TIMEOUT_S = 20.0
_BACKLOG = 4096


def listen(ports: Ports) -> None:
    """Accept queue pairs on every NIC of the process's own domain."""
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("0.0.0.0", DATA_PORT))
    server.listen(_BACKLOG)

    def on_peer(name: str, pair: QueuePair) -> None:
        ports.adopted(name, pair)

    ports.transport.listen(server, on_peer)


def call(ports: Ports, local: socket.socket, address: str, name: str) -> None:
    """Connect a socket (made, and perhaps bound, in the right domain) to a node's data port."""
    local.settimeout(_CONNECT_TIMEOUT_S)
    local.connect((address, DATA_PORT))
    ports.adopted(name, ports.transport.adopt(local, name))
