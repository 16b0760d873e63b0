"""Routes and rules: which port a packet leaves by, and with which source address.

A CNIC's DRAM port is chosen by destination rail, or by the address that a socket is bound to: a
rule for each source address leads to a table of its own.
"""

from __future__ import annotations

from testbed.plan.addresses import COMPUTE_NETWORK, MAIN_TABLE, NETWORKS, rail_network
from testbed.plan.attach import Ports
from testbed.plan.model import AnyElement, Route, Rule

_FIRST_TABLE = 100
_FIRST_PRIORITY = 1000


def route_elements(ports: Ports, rto_min_ms: int) -> list[AnyElement]:
    """The routes and rules of all domains.

    Args:
        ports: of the domains.
        rto_min_ms: least retransmission timeout, on every route.
    """
    return _Routes(ports, rto_min_ms).all()


class _Routes:
    def __init__(self, ports: Ports, rto_min_ms: int) -> None:
        self._ports = ports
        self._rto_min_ms = rto_min_ms
        self._elements: list[AnyElement] = []

    def all(self) -> list[AnyElement]:
        """Of every domain."""
        by_domain: dict[str, list[int]] = {host: [] for host in self._ports.graph.hosts}
        for number, (port, _) in enumerate(self._ports.forwarding.attached):
            by_domain[port.domain].append(number)
        for numbers in by_domain.values():
            for number in numbers:
                what = self._ports.attachments[number]
                if what.nic == "cnic":
                    self._compute_routes(number)
                elif what.nic == "pcie":
                    self._peer_routes(number)
                elif what.network != "plain":
                    self._route(number, MAIN_TABLE, NETWORKS[what.network])
            plain = [n for n in numbers if self._ports.attachments[n].network == "plain"]
            self._plain_routes(plain)
        return self._elements

    def _route(self, number: int, table: int, destination: str) -> None:
        port = self._ports.forwarding.attached[number].port
        self._elements.append(
            Route(
                port.domain,
                table,
                destination,
                port.device,
                port.address,
                self._rto_min_ms,
            )
        )

    def _source_routes(self, number: int, index: int, network: str) -> None:
        """What is sent from this port's address leaves by this port: bind() decides."""
        port = self._ports.forwarding.attached[number].port
        table = _FIRST_TABLE + index
        self._elements.append(
            Rule(port.domain, _FIRST_PRIORITY + index, f"{port.address}/32", table)
        )
        self._route(number, table, network)

    def _compute_routes(self, number: int) -> None:
        port, edge = self._ports.forwarding.attached[number]
        if self._ports.roles[port.domain].kind == "hbm":
            self._route(number, MAIN_TABLE, COMPUTE_NETWORK)
            return
        rail = self._ports.graph.switches[edge.other(port.domain).node]["rail"]
        self._route(number, MAIN_TABLE, rail_network(rail))
        self._source_routes(number, rail, COMPUTE_NETWORK)

    def _peer_routes(self, number: int) -> None:
        """To the other end of a link, and no further: a DRAM domain has one such link a GPU."""
        for peer in self._ports.forwarding.peers(number):
            address = self._ports.forwarding.attached[peer].port.address
            self._route(number, MAIN_TABLE, f"{address}/32")

    def _plain_routes(self, numbers: list[int]) -> None:
        """The first link has the whole network; the others what only they reach."""
        if not numbers:
            return
        self._route(numbers[0], MAIN_TABLE, NETWORKS["plain"])
        known = set(self._ports.forwarding.peers(numbers[0]))
        for index, number in enumerate(numbers[1:]):
            self._source_routes(number, index, NETWORKS["plain"])
            for peer in self._ports.forwarding.peers(number):
                if peer not in known:
                    known.add(peer)
                    address = self._ports.forwarding.attached[peer].port.address
                    self._route(number, MAIN_TABLE, f"{address}/32")
