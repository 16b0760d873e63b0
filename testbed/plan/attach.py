"""Where domains are attached: a port for every link of every host, with its name and address."""

from __future__ import annotations

import functools
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
from testbed.plan.nic import Attachment, HostRole

_BASES = {"mgmt": "10.0.0.0", "storage": "10.1.0.0", "plain": "10.0.0.0"}


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
    attachments: list[Attachment] = []
    nodes = {n: i for i, n in enumerate(dict.fromkeys(r.node for r in roles.values()))}
    numbers = dict.fromkeys(_BASES, 0)
    hosts = {host: i + 1 for i, host in enumerate(graph.hosts)}
    attached: list[Attached] = []
    for host in graph.hosts:
        first = True
        for edge in sorted(graph.at[host], key=functools.partial(_rank, graph, host)):
            what = (
                nic.attachment(graph, host, edge)
                if (edge.other(host).node in graph.switches)
                else nic.direct_attachment(graph, host, edge)
            )
            role = roles[host]
            if what.network == "compute":
                rail = graph.switches[edge.other(host).node]["rail"]
                address = compute_address(nodes[role.node], rail, role.kind)
            elif what.network == "nvlink":
                address = nvlink_address(nodes[role.node], nic.rail_of(graph, host))
            elif what.network == "pcie":
                hbm = host if role.kind == "hbm" else edge.other(host).node
                address = pcie_address(nodes[role.node], nic.rail_of(graph, hbm), role.kind)
            elif what.network == "plain" and not first:
                numbers["plain"] += 1
                address = numbered("10.128.0.0", numbers["plain"], NETWORKS["plain"])
            elif what.network == "plain":
                address = numbered(_BASES["plain"], hosts[host], "10.0.0.0/9")
            else:
                numbers[what.network] += 1
                address = numbered(
                    _BASES[what.network], numbers[what.network], NETWORKS[what.network]
                )
            first = False
            attachments.append(what)
            attached.append(Attached(Port(host, what.device, address, 32), edge))
    return Ports(graph, roles, attachments, Forwarding(graph, attached))


def _rank(graph: Graph, host: str, edge: Edge) -> tuple[bool, int]:
    """A host's address is that of its first port, as in Mininet, but one that all can reach."""
    return edge.other(host).node not in graph.switches, edge.end(host).port
