"""What a Topo's annotations mean: memory domains, NICs, fabrics, and their names.

An ordinary host, switch or link has no annotation.  `ARCHITECTURE.md` has the table.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from testbed.errors import TopologyError
from testbed.plan.graph import IGNORED_HOST_OPTIONS, LONGEST_INTERFACE_NAME, Edge, Graph
from testbed.plan.model import DomainKind, NicKind

FABRIC = "fabric"  # the namespace of all switches
Network = Literal["mgmt", "storage", "compute", "nvlink", "pcie", "plain"]
_MEMORY = ("dram", "hbm")
_FABRICS = ("storage", "compute", "mgmt", "nvlink")
# What a host's port to each fabric is called, and its kind of NIC.
_FABRIC_PORTS: dict[Network, tuple[str, NicKind]] = {
    "mgmt": ("mgmt", "mgmt"),
    "storage": ("snic0", "snic"),
    "nvlink": ("nvl", "nvlink"),
}
_HOST_OPTIONS = {"memory", "role", "of", "rail", *IGNORED_HOST_OPTIONS}
_SWITCH_OPTIONS = {
    "isSwitch",
    "fabric",
    "nic",
    "rail",
    "bw",
    "cls",
    "dpid",
    "failMode",
    "protocols",
    "stp",
}


class HostRole(NamedTuple):
    """What a host stands for."""

    kind: DomainKind
    node: str
    role: str


class Attachment(NamedTuple):
    """What a link between a host and a switch stands for, and what its ends are called."""

    network: Network
    nic: NicKind
    device: str  # inside the host
    port: str  # in the fabric


def host_role(graph: Graph, name: str) -> HostRole:
    """What a host stands for.

    Raises:
        TopologyError: its annotations contradict each other.
    """
    options = graph.hosts[name]
    _known(f"host {name}", options, _HOST_OPTIONS)
    memory = options.get("memory")
    if memory is None:
        if graph.annotated:
            raise TopologyError(
                f"host {name} has no memory= although other hosts have",
                hint='say memory="dram" or memory="hbm"',
            )
        return HostRole("host", name, "host")
    if memory not in _MEMORY:
        raise TopologyError(f"host {name} has memory={memory!r}", hint='use "dram" or "hbm"')
    if memory == "dram":
        return HostRole("dram", name, str(options.get("role", "host")))
    node = options.get("of")
    if node not in graph.hosts or graph.hosts[str(node)].get("memory") != "dram":
        raise TopologyError(
            f"HBM host {name} belongs to of={node!r}, which is no DRAM host of the topology",
            hint='add addHost(NODE, memory="dram") first, and give of=NODE',
        )
    return HostRole("hbm", str(node), str(graph.hosts[str(node)].get("role", "host")))


def check_switches(graph: Graph) -> None:
    """Every annotated switch makes sense: a CNIC has a rate, a rail and its three links.

    Raises:
        TopologyError: one does not.
    """
    for name, options in graph.switches.items():
        _known(f"switch {name}", options, _SWITCH_OPTIONS)
        fabric, nic = options.get("fabric"), options.get("nic")
        if fabric is not None and fabric not in _FABRICS:
            raise TopologyError(
                f"switch {name} has fabric={fabric!r}", hint=f"use one of {', '.join(_FABRICS)}"
            )
        if nic is None:
            if graph.annotated and fabric is None:
                raise TopologyError(
                    f"switch {name} is neither a fabric nor a NIC",
                    hint=f"say fabric={', '.join(_FABRICS)}, or nic=cnic",
                )
            if fabric == "nvlink":
                _check_nvlink(graph, name)
            continue
        if nic != "cnic":
            raise TopologyError(f"switch {name} has nic={nic!r}", hint='the only kind is "cnic"')
        if options.get("bw") is None or not isinstance(options.get("rail"), int):
            raise TopologyError(f"CNIC {name} lacks bw= or rail=", hint="bw is in Mbit/s")
        memories = sorted(
            str(
                graph.hosts[n].get("memory")
                if n in graph.hosts
                else graph.switches[n].get("fabric")
            )
            for n in graph.neighbours(name)
        )
        if memories != ["compute", "dram", "hbm"]:
            raise TopologyError(
                f"CNIC {name} is linked to {', '.join(graph.neighbours(name)) or 'nothing'}",
                hint="it needs one link each: to its DRAM host, its HBM host, a compute fabric",
            )
        if any(edge.rate_bps for edge in graph.at[name]):
            raise TopologyError(
                f"a link of CNIC {name} has bw=", hint="the CNIC's own bw shapes all three links"
            )


def _check_nvlink(graph: Graph, name: str) -> None:
    """An NVLink switch is inside one node, between its HBM hosts."""
    hosts = [graph.hosts.get(n, {}) for n in graph.neighbours(name)]
    nodes = {host.get("of") for host in hosts}
    if len(nodes) != 1 or any(host.get("memory") != "hbm" for host in hosts):
        raise TopologyError(
            f"NVLink switch {name} is linked to {', '.join(graph.neighbours(name)) or 'nothing'}",
            hint="it links the HBM hosts of one node, and nothing else",
        )


def rail_of(graph: Graph, host: str) -> int:
    """The number of an HBM host in its node.

    Raises:
        TopologyError: the topology does not give it.
    """
    rail = graph.hosts[host].get("rail")
    if not isinstance(rail, int):
        raise TopologyError(f"HBM host {host} lacks rail=", hint="number the GPUs of a node from 0")
    return rail


def direct_attachment(graph: Graph, host: str, edge: Edge) -> Attachment:
    """What a link between two hosts stands for: PCIe inside a node, else a link as it is.

    Raises:
        TopologyError: PCIe without a rate, or a name is too long.
    """
    far = edge.other(host).node
    memory = graph.hosts[host].get("memory")
    hbm = host if memory == "hbm" else far
    inside = {memory, graph.hosts[far].get("memory")} == {"dram", "hbm"}
    if not inside or graph.hosts[hbm].get("of") not in (host, far):
        return Attachment("plain", "link", _short(f"{host}-eth{edge.end(host).port}"), "")
    if edge.rate_bps is None:
        raise TopologyError(f"the PCIe link {host} - {far} has no rate", hint="give bw=, in Mbit/s")
    rail = rail_of(graph, hbm)
    return Attachment("pcie", "pcie", f"pcie{rail}" if memory == "dram" else "pcie", "")


def attachment(graph: Graph, host: str, edge: Edge) -> Attachment:
    """What the link of a host stands for.

    Raises:
        TopologyError: such a link makes no sense, or a name is too long.
    """
    far = edge.other(host)
    switch = graph.switches.get(far.node, {})
    if switch.get("nic") == "cnic":
        rail, memory = switch["rail"], graph.hosts[host]["memory"]
        return Attachment("compute", "cnic", f"cnic{rail}", _short(f"{far.node}-{memory}"))
    fabric = switch.get("fabric")
    if fabric is None:
        port = f"{far.node}-eth{far.port}"
        return Attachment("plain", "link", _short(f"{host}-eth{edge.end(host).port}"), _short(port))
    if fabric == "compute":
        raise TopologyError(
            f"{host} is linked to the compute fabric {far.node} itself",
            hint="put a CNIC between them",
        )
    if edge.rate_bps is None:
        raise TopologyError(f"the link {host} - {far.node} has no rate", hint="give bw=, in Mbit/s")
    device, nic = _FABRIC_PORTS[fabric]
    return Attachment(fabric, nic, device, _short(f"{host}-{device}"))


def switch_port(graph: Graph, switch: str, edge: Edge) -> str:
    """The name of a switch's end of a link to another switch."""
    near, far = edge.end(switch), edge.other(switch)
    if graph.switches[switch].get("nic") == "cnic":
        return _short(f"{switch}-wire")
    if graph.switches[far.node].get("nic") == "cnic":
        return _short(f"{far.node}-fab")
    return _short(f"{switch}-eth{near.port}")


def _short(name: str) -> str:
    if len(name.encode()) > LONGEST_INTERFACE_NAME:
        raise TopologyError(
            f"the interface name {name!r} is longer than {LONGEST_INTERFACE_NAME} bytes, "
            "which is all that Linux allows",
            hint="give the host or switch a shorter name",
        )
    return name


def _known(what: str, options: dict[str, Any], known: set[str]) -> None:
    if unknown := sorted(options.keys() - known):
        raise TopologyError(
            f"{what} has options that are not understood: {', '.join(unknown)}",
            hint=f"known are {', '.join(sorted(known))}",
        )
