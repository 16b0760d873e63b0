"""How queue pairs come up: listening and calling on the data ports of a memory domain."""

from __future__ import annotations

import socket

from agents.ports import DATA_PORT, Ports
from agents.wire.pair import set_lane
from agents.wire.pair_names import pair_name

_CONNECT_TIMEOUT_S = 20.0
_BACKLOG = 4096


def listen(ports: Ports, server: socket.socket | None = None) -> None:
    """Accept queue pairs on every NIC of a domain.

    Args:
        ports: of the process.
        server: a socket of the domain; default one of the process's own domain.
    """
    server = server or socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("0.0.0.0", DATA_PORT))
    server.listen(_BACKLOG)
    ports.transport.listen(server, ports.adopted)


def call(
    ports: Ports,
    local: socket.socket,
    address: str,
    caller: str,
    target: str,
    device: str,
    lane: str = "kv",
) -> None:
    """Connect a socket (made, and perhaps bound, in the right domain) to a port of `target`.

    Args:
        local: the socket.
        address: of the port.
        caller, target, device: who calls which port of whom.
        lane: "kv" or "model".
    """
    set_lane(local, lane)  # the SYN too
    local.settimeout(_CONNECT_TIMEOUT_S)
    local.connect((address, DATA_PORT))
    name = pair_name(caller, target, device, "caller", lane)
    hello = pair_name(caller, target, device, "called", lane)
    ports.adopted(name, ports.transport.adopt(local, name, lane=lane, hello=hello))
