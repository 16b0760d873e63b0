"""A Mininet Topo becomes a Plan: every kernel object, listed, without a kernel in sight."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from mininet.topo import Topo

from testbed.errors import TopologyError
from testbed.plan import nic
from testbed.plan.attach import attach
from testbed.plan.graph import LONGEST_INTERFACE_NAME, Edge, Graph, rate_of, read_topo
from testbed.plan.lanes import Leaves, lane_classes, leaf_names, shaper_elements
from testbed.plan.model import (
    Address,
    AnyElement,
    Bridge,
    Direction,
    DomainKind,
    FdbEntry,
    Ifb,
    Link,
    LinkKind,
    Meter,
    Namespace,
    Neighbours,
    NicKind,
    Plan,
    Redirect,
    Sysctl,
    Veth,
)
from testbed.plan.model import Port as BridgePort
from testbed.plan.nic import FABRIC, Attachment
from testbed.plan.routes import route_elements
from testbed.plan.senders import Senders
from testbed.plan.settings import PlanSettings
from testbed.plan.sysctls import sysctl_values

__all__ = ["PlanSettings", "compile_plan"]

_MEMORY_LINKS: dict[DomainKind, LinkKind] = {"dram": "cnic-dram", "hbm": "cnic-hbm"}


def compile_plan(
    topo: Topo,
    settings: PlanSettings | None = None,
    *,
    name: str = "",
    parameters: Mapping[str, str | int | float | bool] | None = None,
) -> Plan:
    """The plan of a topology.

    Args:
        topo: hosts, switches and links, perhaps annotated (see `testbed.plan.nic`).
        settings: of links and queues.
        name, parameters: what the topology was built from, for people.

    Raises:
        TopologyError: the topology makes no sense as a cluster.
        UnsupportedError: it asks for something that this testbed cannot do.
    """
    return _Compiler(read_topo(topo), settings or PlanSettings()).plan(name, dict(parameters or {}))


class _Compiler:
    def __init__(self, graph: Graph, settings: PlanSettings) -> None:
        self._graph = graph
        self._settings = settings
        self._elements: list[AnyElement] = []
        self._meters: list[Meter] = []
        self._links: list[Link] = []
        self._macs = 0
        self._ports = attach(graph)
        self._roles, self._attachments = self._ports.roles, self._ports.attachments
        self._forwarding = self._ports.forwarding
        self._senders = Senders(self._ports, settings)
        self._entries = [(port.address, port.mac) for port, _ in self._forwarding.attached]

    def plan(self, name: str, parameters: dict[str, str | int | float | bool]) -> Plan:
        sysctls = sysctl_values(self._settings).items()
        for domain in [*self._graph.hosts, *([FABRIC] if self._graph.switches else [])]:
            self._elements.append(Namespace(domain))
            for key, value in sysctls:
                self._elements.append(Sysctl(domain, key, value))
        for switch, options in self._graph.switches.items():
            self._bridge(switch, options)
        for number in range(len(self._forwarding.attached)):
            self._port(number)
        for edge in self._graph.edges:
            if {edge.a.node, edge.b.node} <= self._graph.switches.keys():
                self._trunk(edge)
        self._direct_links()
        self._elements += route_elements(self._ports, self._settings.rto_min_ms)
        elements = frozenset(self._elements)
        if len(elements) != len(self._elements):
            raise TopologyError(
                "two elements of the plan are the same", hint="a host or switch is named twice?"
            )
        _check(elements, self._graph)
        domains = self._ports.domains()
        return Plan(
            elements,
            name,
            domains,
            tuple(self._meters),
            tuple(self._links),
            parameters,
        )

    # --- devices -------------------------------------------------------------------------

    def _mac(self) -> str:
        """An address for a device that is no destination."""
        self._macs += 1
        return "02:01:00:" + self._macs.to_bytes(3, "big").hex(":")

    def _bridge(self, switch: str, options: Mapping[str, object]) -> None:
        self._elements.append(Bridge(FABRIC, switch, self._mac(), self._settings.mtu))
        if options.get("nic") == "cnic":
            self._cnic(switch, rate_of(options["bw"], f"CNIC {switch}") or 0)

    def _veth(
        self, here: tuple[str, str], there: tuple[str, str], mac: str, rate_bps: int | None
    ) -> None:
        settings = self._settings
        self._elements.append(
            Veth(
                *here,
                *there,
                mac,
                settings.mtu,
                settings.gso_bytes(rate_bps),
                settings.queue_packets,
            )
        )

    def _bridge_port(self, device: str, bridge: str, *, default: bool = False) -> None:
        """A port that forwards by the FDB only, or (`default`) gets what the FDB does not know."""
        self._elements.append(
            BridgePort(
                FABRIC,
                device,
                bridge,
                learning=False,
                flood=default,
                multicast_flood=False,
                broadcast_flood=False,
            )
        )

    def _shape(
        self, namespace: str, device: str, rate_bps: int, leaves: Leaves, *, lanes: bool = True
    ) -> None:
        self._elements += shaper_elements(
            namespace, device, rate_bps, leaves, self._settings, lanes=lanes
        )

    def _rate(self, number: int) -> int | None:
        """The rate that bounds a domain's port."""
        port, edge = self._forwarding.attached[number]
        options = self._graph.switches.get(edge.other(port.domain).node, {})
        if options.get("nic") == "cnic":
            return rate_of(options["bw"], f"CNIC {edge.other(port.domain).node}")
        return edge.rate_bps

    def _port(self, number: int) -> None:
        """A domain's port: the veth pair, its bridge port, FDB, neighbours, address, shapers."""
        attached = self._forwarding.attached[number]
        port, what = attached.port, self._attachments[number]
        rate = self._rate(number)
        self._elements.append(Address(port.domain, port.device, port.address, port.prefix_len))
        peers = self._forwarding.peers(number)
        if peers:
            entries = frozenset(map(self._entries.__getitem__, peers))
            self._elements.append(Neighbours(port.domain, port.device, entries))
        if not what.port:
            return  # a direct link: see _direct_links
        inside, outside = (port.domain, port.device), (FABRIC, what.port)
        self._veth(inside, outside, port.mac, rate)
        self._veth(outside, inside, self._mac(), rate)
        self._bridge_port(what.port, attached.far.node)
        for switch, edge in self._forwarding.next_hops(number).items():
            self._forward(switch, edge, what, number)
        if what.nic == "cnic":
            kind = _MEMORY_LINKS[self._roles[port.domain].kind]
            self._links.append(Link(port.domain, attached.far.node, kind, None))
            return
        self._links.append(Link(port.domain, attached.far.node, what.nic, rate))
        if rate is None:
            return
        own = Leaves.alone(port.domain)
        self._shape(*inside, rate, own)
        senders = self._senders.of_port(number, peers)
        self._shape(*outside, rate, senders)
        ends: tuple[tuple[Direction, tuple[str, str], Leaves], ...] = (
            ("out", inside, own),
            ("in", outside, senders),
        )
        for direction, (namespace, device), leaves in ends:
            self._meter(
                f"{port.domain}/{port.device}",
                what.nic,
                port.domain,
                direction,
                namespace,
                device,
                rate,
                leaves,
            )

    def _forward(self, switch: str, edge: Edge, what: Attachment, number: int) -> None:
        """One FDB entry: at `switch`, frames to a port leave by a link."""
        target = self._forwarding.attached[number]
        if switch == target.far.node:
            device = what.port
        elif self._graph.switches[switch].get("nic") == "cnic":
            return  # its wire is its default
        else:
            device = nic.switch_port(self._graph, switch, edge)
        self._elements.append(FdbEntry(FABRIC, device, target.port.mac))

    def _meter(
        self,
        name: str,
        kind: NicKind,
        node: str,
        direction: Direction,
        namespace: str,
        device: str,
        rate: int,
        leaves: Leaves,
        *,
        lanes: bool = True,
    ) -> None:
        known = self._roles.get(node)
        self._meters.append(
            Meter(
                nic=name,
                kind=kind,
                node=known.node if known else node,
                role=known.role if known else "switch",
                direction=direction,
                namespace=namespace,
                device=device,
                rate_bps=rate,
                burst_bytes=self._settings.link_burst_bytes(rate),
                lanes=lane_classes(lanes=lanes and self._settings.lanes),
                leaves=leaf_names(leaves),
            )
        )

    def _cnic(self, switch: str, rate: int) -> None:
        """The two shared shapers of a CNIC, and the redirections of both memory ports."""
        settings = self._settings
        members = [i for i, a in enumerate(self._forwarding.attached) if a.far.node == switch]
        memory = {self._roles[self._forwarding.attached[i].port.domain].kind: i for i in members}
        node = self._roles[self._forwarding.attached[members[0]].port.domain].node
        reading = self._senders.of_memory(memory)
        writing = self._senders.of_port(members[0], list(self._forwarding.network(members[0])))
        device_of = self._attachments[members[0]].device
        sides: tuple[tuple[Direction, Literal["ingress", "egress"], Leaves], ...] = (
            ("read", "ingress", reading),
            ("write", "egress", writing),
        )
        for side, direction, leaves in sides:
            device = f"{switch}-{side}"
            self._elements.append(
                Ifb(
                    FABRIC,
                    device,
                    self._mac(),
                    settings.mtu,
                    settings.gso_bytes(rate),
                    settings.queue_packets,
                )
            )
            self._shape(FABRIC, device, rate, leaves)
            for i in members:
                self._elements.append(
                    Redirect(FABRIC, self._attachments[i].port, direction, device)
                )
            self._meter(f"{node}/{device_of}", "cnic", node, side, FABRIC, device, rate, leaves)

    def _trunk(self, edge: Edge) -> None:
        """A link between two switches."""
        ends = []
        for end in (edge.a, edge.b):
            ends.append((FABRIC, nic.switch_port(self._graph, end.node, edge)))
        cnic_rate = None
        for end in (edge.a, edge.b):
            options = self._graph.switches[end.node]
            if options.get("nic") == "cnic":
                cnic_rate = rate_of(options["bw"], f"CNIC {end.node}")
        rate = edge.rate_bps or cnic_rate
        for here, there, end in ((ends[0], ends[1], edge.a), (ends[1], ends[0], edge.b)):
            self._veth(here, there, self._mac(), rate)
            wire = self._graph.switches[end.node].get("nic") == "cnic"
            self._bridge_port(here[1], end.node, default=wire)
        kind: LinkKind = "cnic-wire" if cnic_rate else "link"
        self._links.append(Link(edge.a.node, edge.b.node, kind, edge.rate_bps))
        if edge.rate_bps is None:
            return
        for here, end in ((ends[0], edge.a), (ends[1], edge.b)):
            leaves = self._senders.of_trunk(end.node, end)
            self._shape(*here, edge.rate_bps, leaves)
            self._meter(
                f"{end.node}/{here[1]}", "link", end.node, "out", *here, edge.rate_bps, leaves
            )

    def _direct_links(self) -> None:
        """Links between two hosts."""
        for number, (port, edge) in enumerate(self._forwarding.attached):
            if self._attachments[number].port:
                continue
            (peer,) = self._forwarding.peers(number)
            other = self._forwarding.attached[peer].port
            here = (port.domain, port.device)
            self._veth(here, (other.domain, other.device), port.mac, edge.rate_bps)
            kind = self._attachments[number].nic
            assert kind != "cnic"  # which is a switch
            if number < peer:
                self._links.append(Link(port.domain, other.domain, kind, edge.rate_bps))
            if not edge.rate_bps:
                continue
            own = Leaves.alone(port.domain)
            pcie = kind == "pcie"  # which has no lanes of its own
            self._shape(*here, edge.rate_bps, own, lanes=not pcie)
            direction: Direction = "out"
            name = "/".join(here)
            if pcie and self._roles[port.domain].kind == "hbm":
                # The link has one name, that of the DRAM's end: to it is "in".
                direction, name = "in", f"{other.domain}/{other.device}"
            self._meter(
                name, kind, port.domain, direction, *here, edge.rate_bps, own, lanes=not pcie
            )


def _check(elements: Iterable[AnyElement], graph: Graph) -> None:
    """Names that the kernel would refuse, or that would mean two things."""
    if FABRIC in graph.hosts:
        raise TopologyError(
            f"a host is called {FABRIC!r}, which is the name of the switches' namespace",
            hint="call it something else",
        )
    devices: set[tuple[str, str]] = set()
    for element in elements:
        if isinstance(element, Veth | Ifb | Bridge):
            name = (element.namespace, element.device)
            if name in devices:
                raise TopologyError(
                    f"two devices of {name[0]} would be called {name[1]!r}",
                    hint="choose other host or switch names",
                )
            devices.add(name)
            if len(element.device.encode()) > LONGEST_INTERFACE_NAME:
                raise TopologyError(
                    f"the interface name {element.device!r} is longer than "
                    f"{LONGEST_INTERFACE_NAME} bytes",
                    hint="give the switch a shorter name",
                )
