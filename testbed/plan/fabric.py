"""Forwarding, planned: which way each destination lies, and who crosses which link.

Learning and flooding are off, so a topology with loops is as safe as a tree.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from testbed.plan.addresses import Port
from testbed.plan.graph import Edge, End, Graph


class Attached(NamedTuple):
    """A domain's port and the link it is on."""

    port: Port
    edge: Edge

    @property
    def far(self) -> End:
        """The other end of the link: usually at a switch."""
        return self.edge.other(self.port.domain)


class Forwarding:
    """Shortest paths between switches, the same for all of a destination's traffic.

    Args:
        graph: the topology.
        attached: every port of every domain.
    """

    def __init__(self, graph: Graph, attached: list[Attached]) -> None:
        self._graph = graph
        self.attached = attached
        self._domains = [port.domain for port, _ in attached]
        self._distances: dict[str, dict[str, int]] = {}
        self._networks: dict[str, tuple[int, ...]] = {}  # of each switch

    def _distance(self, switch: str) -> dict[str, int]:
        """Links from every reachable switch to `switch`."""
        if switch not in self._distances:
            far = {switch: 0}
            queue = deque([switch])
            while queue:
                at = queue.popleft()
                for neighbour in self._graph.neighbours(at):
                    if neighbour in self._graph.switches and neighbour not in far:
                        far[neighbour] = far[at] + 1
                        queue.append(neighbour)
            self._distances[switch] = far
        return self._distances[switch]

    def next_hops(self, number: int) -> dict[str, Edge]:
        """For every switch that can reach port `number`: the link it sends its frames to.

        Of equally short ways the choice depends on the port's number: destinations spread over
        parallel paths, a spine per destination.
        """
        target = self.attached[number]
        last = target.far.node
        if last not in self._graph.switches:
            return {}
        distance = self._distance(last)
        hops = {last: target.edge}
        for switch, far in distance.items():
            if switch == last:
                continue
            nearer = [
                edge
                for edge in self._graph.at[switch]
                if edge.other(switch).node in self._graph.switches
                and distance[edge.other(switch).node] == far - 1
            ]
            hops[switch] = nearer[number % len(nearer)]
        return hops

    def network(self, number: int) -> tuple[int, ...]:
        """Numbers of all ports that port `number` can reach, its own among them."""
        own = self.attached[number]
        far = own.far.node
        if far not in self._graph.switches:
            return tuple(i for i, other in enumerate(self.attached) if other.edge is own.edge)
        if far not in self._networks:
            reachable = self._distance(far)
            network = tuple(
                i for i, other in enumerate(self.attached) if other.far.node in reachable
            )
            self._networks |= dict.fromkeys(reachable, network)
        return self._networks[far]

    def peers(self, number: int) -> list[int]:
        """Numbers of all ports of other domains that port `number` can reach."""
        domain = self._domains[number]
        return [i for i in self.network(number) if self._domains[i] != domain]

    def crossing(self) -> dict[tuple[str, End], set[int]]:
        """(switch, its end of a switch-to-switch link) -> ports whose frames leave there."""
        crossed: dict[tuple[str, End], set[int]] = {}
        if not any(
            e.rate_bps and {e.a.node, e.b.node} <= self._graph.switches.keys()
            for e in self._graph.edges
        ):
            return crossed
        for target in range(len(self.attached)):
            hops = self.next_hops(target)
            if not hops:
                continue  # a link between two hosts crosses no switch
            for sender in self.peers(target):
                at = self.attached[sender].far.node
                while at != self.attached[target].far.node:
                    edge = hops[at]
                    crossed.setdefault((at, edge.end(at)), set()).add(sender)
                    at = edge.other(at).node
        return crossed
