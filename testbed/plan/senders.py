"""Who can send through a port, and how its lanes' leaves tell them apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from testbed.plan.attach import Ports
from testbed.plan.graph import End
from testbed.plan.lanes import Leaves, Prefix, address_int, choose_leaves, leaf_bits
from testbed.plan.model import DomainKind
from testbed.plan.settings import PlanSettings

_HOST, _SUBNET = 0xFFFFFFFF, 0xFFFFFF00


class Senders:
    """The leaves of every shaper.

    Args:
        ports: of the domains.
        settings: how many leaves there may be.
    """

    def __init__(self, ports: Ports, settings: PlanSettings) -> None:
        self._ports = ports
        self._settings = settings
        self._bits: dict[tuple[int, ...], int] = {}  # network -> address bits of its leaves
        self._crossing: dict[tuple[str, End], set[int]] | None = None

    def of_port(self, number: int, peers: list[int]) -> Leaves:
        """Leaves of a port: of all that can send to it.

        Ports of one network use the same address bits, which are chosen once.  On links of plain
        hosts only the kv lane, which takes what is not marked, tells senders apart: nothing of the
        testbed's own uses their model lane.
        """
        kind = self._ports.attachments[number].nic
        senders = self._named(peers)
        limit = 1 if kind == "mgmt" else self._limit
        if not 1 < limit < len(senders):
            kv = choose_leaves(senders, limit)
        else:
            network = self._ports.forwarding.network(number)
            if network not in self._bits:
                self._bits[network] = leaf_bits(self._named(network).values(), limit)
            kv = choose_leaves(senders, limit, self._bits[network])
        return Leaves(choose_leaves(senders, 1) if kind == "link" else kv, kv)

    def of_memory(self, memory: Mapping[DomainKind, int]) -> Leaves:
        """Leaves of a CNIC's read side: its memory ports, by kind of memory.

        Args:
            memory: kind -> number of the port.
        """
        attached = self._ports.forwarding.attached
        chosen = choose_leaves(
            {
                kind: Prefix(address_int(attached[i].port.address), _HOST)
                for kind, i in memory.items()
            },
            self._limit,
        )
        return Leaves(chosen, chosen)

    def of_trunk(self, switch: str, end: End) -> Leaves:
        """Leaves of a switch's end of a link to another: of all whose frames leave there."""
        if self._crossing is None:
            self._crossing = self._ports.forwarding.crossing()
        crossing = sorted(self._crossing.get((switch, end), set()))
        chosen = choose_leaves(self._named(crossing), self._limit)
        return Leaves(chosen, chosen)

    @property
    def _limit(self) -> int:
        """Leaves of a lane, at most."""
        return self._settings.leaves if self._settings.arbitration == "fair" else 1

    def _named(self, ports: Iterable[int]) -> dict[str, Prefix]:
        """Who can send, by name: a CNIC (both its memory ports), a node, a host's port."""
        senders = {}
        for number in ports:
            port, edge = self._ports.forwarding.attached[number]
            if self._ports.attachments[number].nic == "cnic":
                senders[edge.other(port.domain).node] = Prefix(address_int(port.address), _SUBNET)
            else:
                senders[f"{port.domain}/{port.device}"] = Prefix(address_int(port.address), _HOST)
        return senders
