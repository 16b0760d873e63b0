"""Where domains are attached: a port for every link of every host, with its name and address."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from testbed.plan import nic
from testbed.plan.addresses import (
    NETWORKS,
    Port,
    compute_address,
    numbered,
    nvlink_address,
    pcie_address,
)
from testbed.plan.fabric import Attached, Forwarding
from testbed.plan.graph import Edge, Graph
from testbed.plan.model import Domain
from testbed.plan.nic import Attachment, HostRole, Network

_BASES = {"mgmt": "10.0.0.0", "storage": "10.1.0.0", "plain": "10.0.0.0"}
_FURTHER = "10.128.0.0"  # links of a plain host but the first


@dataclass(frozen=True)
class Ports:
    """Every port of every domain, by number.

    Args:
        graph: the topology.
        roles: of each host.
        attachments: what each port is.
        forwarding: their names and addresses, and who reaches whom.
    """

    graph: Graph
    roles: dict[str, HostRole]
    attachments: list[Attachment]
    forwarding: Forwarding

    def domains(self) -> dict[str, Domain]:
        """The domains, with their addresses."""
        addresses: dict[str, dict[str, str]] = {host: {} for host in self.graph.hosts}
        for port, _ in self.forwarding.attached:
            addresses[port.domain][port.device] = port.address
        return {
            host: Domain(host, role.kind, role.node, role.role, addresses[host])
            for host, role in self.roles.items()
        }


def attach(graph: Graph) -> Ports:
    """A port, with its name and address, for every link of every host.

    Raises:
        TopologyError: the topology makes no sense as a cluster.
        UnsupportedError: it asks for something that this testbed cannot do.
    """
    roles = {name: nic.host_role(graph, name) for name in graph.hosts}
    nic.check_switches(graph)
    addresses = _Addresses(graph, roles)
    attachments: list[Attachment] = []
    attached: list[Attached] = []
    for host in graph.hosts:
        edges = sorted(graph.at[host], key=functools.partial(_rank, graph, host))
        for edge in edges:
            switched = edge.other(host).node in graph.switches
            what = (nic.attachment if switched else nic.direct_attachment)(graph, host, edge)
            address = addresses.of(host, edge, what.network, first=edge is edges[0])
            attachments.append(what)
            attached.append(Attached(Port(host, what.device, address, 32), edge))
    return Ports(graph, roles, attachments, Forwarding(graph, attached))


class _Addresses:
    """Addresses of ports; some networks number them in the order in which they are asked for."""

    def __init__(self, graph: Graph, roles: Mapping[str, HostRole]) -> None:
        self._graph, self._roles = graph, roles
        self._nodes = {n: i for i, n in enumerate(dict.fromkeys(r.node for r in roles.values()))}
        self._hosts = {host: i for i, host in enumerate(graph.hosts, 1)}
        self._given: Counter[Network] = Counter()

    def of(self, host: str, edge: Edge, network: Network, *, first: bool) -> str:
        """The address of a host's port.

        Args:
            first: it is the host's first port, whose address is the host's.
        """
        graph, role = self._graph, self._roles[host]
        node, far = self._nodes[role.node], edge.other(host).node
        if network == "compute":
            return compute_address(node, graph.switches[far]["rail"], role.kind)
        if network == "nvlink":
            return nvlink_address(node, nic.rail_of(graph, host))
        if network == "pcie":
            hbm = host if role.kind == "hbm" else far
            return pcie_address(node, nic.rail_of(graph, hbm), role.kind)
        if network == "plain" and first:
            return numbered(_BASES["plain"], self._hosts[host], "10.0.0.0/9")
        self._given[network] += 1
        base = _FURTHER if network == "plain" else _BASES[network]
        return numbered(base, self._given[network], NETWORKS[network])


def _rank(graph: Graph, host: str, edge: Edge) -> tuple[bool, int]:
    """A host's address is that of its first port, as in Mininet, but one that all can reach."""
    return edge.other(host).node not in graph.switches, edge.end(host).port
