"""Who can send through a port, and how its lanes' leaves tell them apart."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from testbed.plan.attach import Ports
from testbed.plan.graph import End
from testbed.plan.lanes import Leaf, Leaves, Prefix, address_int, choose_leaves, leaf_bits
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
        self._names = [self._name(number) for number in range(len(ports.attachments))]
        self._networks: dict[tuple[int, ...], list[Leaf]] = {}  # network -> leaves of them all
        self._crossing: dict[tuple[str, End], set[int]] | None = None

    def of_port(self, number: int, peers: list[int]) -> Leaves:
        """Leaves of a port: of all that can send to it.

        Ports of one network use the same address bits, which are chosen once.  On links of plain
        hosts only the kv lane, which takes what is not marked, tells senders apart: nothing of the
        testbed's own uses their model lane.
        """
        kind = self._ports.attachments[number].nic
        names = dict.fromkeys(self._names[peer][0] for peer in peers)
        limit = 1 if kind == "mgmt" else self._limit
        if 1 < limit < len(names):
            kv = self._of_network(self._ports.forwarding.network(number), limit, names.keys())
        else:
            kv = choose_leaves(self._named(peers), limit)
        return Leaves([Leaf(0, 0, tuple(names))] if kind == "link" else kv, kv)

    def _of_network(
        self, network: tuple[int, ...], limit: int, senders: Collection[str]
    ) -> list[Leaf]:
        """Leaves of some of a network's senders, by the bits that suit all of them."""
        if network not in self._networks:
            everybody = self._named(network)
            bits = leaf_bits(everybody.values(), limit)
            self._networks[network] = choose_leaves(everybody, limit, bits)
        some = []
        for leaf in self._networks[network]:
            if all(name in senders for name in leaf.senders):
                some.append(leaf)  # the same for most ports
            elif left := tuple(name for name in leaf.senders if name in senders):
                some.append(Leaf(leaf.value, leaf.mask, left))
        return some

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
        """Who can send, by name."""
        return dict(self._names[number] for number in ports)

    def _name(self, number: int) -> tuple[str, Prefix]:
        """Who sends by a port: a CNIC (both its memory ports), a node, a host's port."""
        port, edge = self._ports.forwarding.attached[number]
        address = address_int(port.address)
        if self._ports.attachments[number].nic == "cnic":
            return edge.other(port.domain).node, Prefix(address, _SUBNET)
        return f"{port.domain}/{port.device}", Prefix(address, _HOST)
