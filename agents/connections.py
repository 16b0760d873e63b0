"""How queue pairs come up: listening and calling on the data ports of a memory domain."""

from __future__ import annotations

import socket

from agents.ports import DATA_PORT, Ports, pair_name
from agents.wire.pair import set_lane

_CONNECT_TIMEOUT_S = 20.0
_BACKLOG = 4096


def listen(ports: Ports) -> None:
    """Accept queue pairs on every NIC of the process's own domain."""
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("0.0.0.0", DATA_PORT))
    server.listen(_BACKLOG)
    ports.transport.listen(server, ports.adopted)


def call(
    ports: Ports, local: socket.socket, address: str, caller: str, target: str, device: str
) -> None:
    """Connect a socket (made, and perhaps bound, in the right domain) to a port of `target`.

    Args:
        local: the socket.
        address: of the port.
        caller, target, device: who calls which port of whom.
    """
    set_lane(local, "kv")  # the SYN too
    local.settimeout(_CONNECT_TIMEOUT_S)
    local.connect((address, DATA_PORT))
    name = pair_name(caller, target, device, "caller")
    hello = pair_name(caller, target, device, "called")
    ports.adopted(name, ports.transport.adopt(local, name, hello=hello))
