"""A Mininet Topo becomes a Plan: every kernel object, listed, without a kernel in sight."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from mininet.topo import Topo

from testbed.errors import TopologyError
from testbed.plan import nic
from testbed.plan.addresses import (
    COMPUTE_NETWORK,
    MAIN_TABLE,
    Port,
    compute_address,
    numbered,
    rail_network,
)
from testbed.plan.fabric import Attached, Forwarding
from testbed.plan.graph import LONGEST_INTERFACE_NAME, Edge, Graph, rate_of, read_topo
from testbed.plan.lanes import (
    LANE_CLASSES,
    Leaves,
    Prefix,
    address_int,
    choose_leaves,
    leaf_bits,
    leaf_names,
    shaper_elements,
)
from testbed.plan.model import (
    Address,
    AnyElement,
    Bridge,
    Domain,
    FdbEntry,
    Ifb,
    Link,
    Meter,
    Namespace,
    Neighbours,
    NicKind,
    Plan,
    Redirect,
    Route,
    Rule,
    Sysctl,
    Veth,
)
from testbed.plan.model import Port as BridgePort
from testbed.plan.nic import FABRIC, Attachment
from testbed.plan.settings import PlanSettings
from testbed.plan.sysctls import sysctl_values

__all__ = ["PlanSettings", "compile_plan"]

Direction = Literal["in", "out", "read", "write"]
_FIRST_TABLE = 100
_FIRST_PRIORITY = 1000
_HOST, _SUBNET = 0xFFFFFFFF, 0xFFFFFF00
_NETWORKS = {"mgmt": "10.0.0.0/16", "storage": "10.1.0.0/16", "plain": "10.0.0.0/8"}
_BASES = {"mgmt": "10.0.0.0", "storage": "10.1.0.0", "plain": "10.0.0.0"}


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
        self._roles = {name: nic.host_role(graph, name) for name in graph.hosts}
        nic.check_switches(graph)
        self._attachments: dict[int, Attachment] = {}
        self._forwarding = Forwarding(graph, self._attach())
        self._entries = [(port.address, port.mac) for port, _ in self._forwarding.attached]
        self._bits: dict[tuple[int, ...], int] = {}  # network -> address bits of its leaves

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
        self._routes()
        elements = frozenset(self._elements)
        self._check(elements)
        return Plan(
            elements, name, self._domains(), tuple(self._meters), tuple(self._links), parameters
        )

    # --- addresses -----------------------------------------------------------------------

    def _attach(self) -> list[Attached]:
        """A port, with its name and address, for every link of every host."""
        nodes = {n: i for i, n in enumerate(dict.fromkeys(r.node for r in self._roles.values()))}
        numbers = dict.fromkeys(_BASES, 0)
        hosts = {host: i + 1 for i, host in enumerate(self._graph.hosts)}
        attached: list[Attached] = []
        for host in self._graph.hosts:
            first = True
            for edge in sorted(self._graph.at[host], key=lambda edge: self._rank(host, edge)):
                what = (
                    nic.attachment(self._graph, host, edge)
                    if (edge.other(host).node in self._graph.switches)
                    else self._direct(host, edge)
                )
                if what.network == "compute":
                    rail = self._graph.switches[edge.other(host).node]["rail"]
                    role = self._roles[host]
                    address = compute_address(nodes[role.node], rail, role.kind)
                elif what.network == "plain" and not first:
                    numbers["plain"] += 1
                    address = numbered("10.128.0.0", numbers["plain"], _NETWORKS["plain"])
                elif what.network == "plain":
                    address = numbered(_BASES["plain"], hosts[host], "10.0.0.0/9")
                else:
                    numbers[what.network] += 1
                    address = numbered(
                        _BASES[what.network], numbers[what.network], _NETWORKS[what.network]
                    )
                first = False
                self._attachments[len(attached)] = what
                attached.append(Attached(Port(host, what.device, address, 32), edge))
        return attached

    def _rank(self, host: str, edge: Edge) -> tuple[bool, int]:
        """A host's address is that of its first port, as in Mininet, but one that all can reach."""
        return edge.other(host).node not in self._graph.switches, edge.end(host).port

    def _direct(self, host: str, edge: Edge) -> Attachment:
        """A link between two hosts, without a switch."""
        near = edge.end(host)
        device = f"{host}-eth{near.port}"
        if len(device) > LONGEST_INTERFACE_NAME:
            raise TopologyError(
                f"the interface name {device!r} is longer than {LONGEST_INTERFACE_NAME} bytes",
                hint="give the host a shorter name",
            )
        return Attachment("plain", "link", device, "")

    def _domains(self) -> dict[str, Domain]:
        addresses: dict[str, dict[str, str]] = {host: {} for host in self._graph.hosts}
        for port, _ in self._forwarding.attached:
            addresses[port.domain][port.device] = port.address
        return {
            host: Domain(host, role.kind, role.node, role.role, addresses[host])
            for host, role in self._roles.items()
        }

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

    def _shape(self, namespace: str, device: str, rate_bps: int, leaves: Leaves) -> None:
        self._elements += shaper_elements(namespace, device, rate_bps, leaves, self._settings)

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
            entries = frozenset(self._entries[peer] for peer in peers)
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
            self._links.append(
                Link(port.domain, attached.far.node, f"cnic-{self._roles[port.domain].kind}", None)  # type: ignore[arg-type]
            )
            return
        self._links.append(Link(port.domain, attached.far.node, what.nic, rate))
        if rate is None:
            return
        own = Leaves.alone(port.domain)
        self._shape(*inside, rate, own)
        senders = self._leaves(number, peers)
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

    def _leaves(self, number: int, peers: list[int]) -> Leaves:
        """Leaves of a port: of all that can send to it.

        Ports of one network use the same address bits, which are chosen once.  On links of plain
        hosts only the kv lane, which takes what is not marked, tells senders apart: nothing of the
        testbed's own uses their model lane.
        """
        kind = self._attachments[number].nic
        senders = self._senders(peers)
        limit = 1 if kind == "mgmt" else self._leaf_limit
        if not 1 < limit < len(senders):
            kv = choose_leaves(senders, limit)
        else:
            network = self._forwarding.network(number)
            if network not in self._bits:
                self._bits[network] = leaf_bits(self._senders(network).values(), limit)
            kv = choose_leaves(senders, limit, self._bits[network])
        return Leaves(choose_leaves(senders, 1) if kind == "link" else kv, kv)

    @property
    def _leaf_limit(self) -> int:
        return self._settings.leaves if self._settings.arbitration == "fair" else 1

    def _senders(self, ports: Iterable[int]) -> dict[str, Prefix]:
        """Who can send, by name: a CNIC (both its memory ports), a node, a host's port."""
        senders = {}
        for number in ports:
            port, edge = self._forwarding.attached[number]
            if self._attachments[number].nic == "cnic":
                senders[edge.other(port.domain).node] = Prefix(address_int(port.address), _SUBNET)
            else:
                senders[f"{port.domain}/{port.device}"] = Prefix(address_int(port.address), _HOST)
        return senders

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
                lanes=dict(LANE_CLASSES),
                leaves=leaf_names(leaves),
            )
        )

    def _cnic(self, switch: str, rate: int) -> None:
        """The two shared shapers of a CNIC, and the redirections of both memory ports."""
        settings = self._settings
        members = [i for i, a in enumerate(self._forwarding.attached) if a.far.node == switch]
        memory = {self._roles[self._forwarding.attached[i].port.domain].kind: i for i in members}
        node = self._roles[self._forwarding.attached[members[0]].port.domain].node
        reading = choose_leaves(
            {
                kind: Prefix(address_int(self._forwarding.attached[i].port.address), _HOST)
                for kind, i in memory.items()
            },
            self._leaf_limit,
        )
        writing = self._leaves(members[0], list(self._forwarding.network(members[0])))
        device_of = self._attachments[members[0]].device
        sides: tuple[tuple[Direction, Literal["ingress", "egress"], Leaves], ...] = (
            ("read", "ingress", Leaves(reading, reading)),
            ("write", "egress", writing),
        )
        for side, direction, leaves in sides:
            device = f"{switch}-{side}"
            if len(device) > LONGEST_INTERFACE_NAME:
                raise TopologyError(
                    f"the interface name {device!r} is longer than {LONGEST_INTERFACE_NAME} bytes",
                    hint="give the CNIC a shorter name",
                )
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
        kind = "cnic-wire" if cnic_rate else "link"
        self._links.append(Link(edge.a.node, edge.b.node, kind, edge.rate_bps))  # type: ignore[arg-type]
        if edge.rate_bps is None:
            return
        crossing = self._crossing()
        for here, end in ((ends[0], edge.a), (ends[1], edge.b)):
            senders = self._senders(sorted(crossing.get((end.node, end), set())))
            chosen = choose_leaves(senders, self._leaf_limit)
            leaves = Leaves(chosen, chosen)
            self._shape(*here, edge.rate_bps, leaves)
            self._meter(
                f"{end.node}/{here[1]}", "link", end.node, "out", *here, edge.rate_bps, leaves
            )

    def _crossing(self) -> dict[tuple[str, object], set[int]]:
        if not hasattr(self, "_crossed"):
            self._crossed = dict(self._forwarding.crossing())
        return self._crossed  # type: ignore[return-value]

    def _direct_links(self) -> None:
        """Links between two hosts."""
        for number, (port, edge) in enumerate(self._forwarding.attached):
            if self._attachments[number].port:
                continue
            (peer,) = self._forwarding.peers(number)
            other = self._forwarding.attached[peer].port
            here = (port.domain, port.device)
            self._veth(here, (other.domain, other.device), port.mac, edge.rate_bps)
            if number < peer:
                self._links.append(Link(port.domain, other.domain, "link", edge.rate_bps))
            if edge.rate_bps:
                own = Leaves.alone(port.domain)
                self._shape(*here, edge.rate_bps, own)
                self._meter("/".join(here), "link", port.domain, "out", *here, edge.rate_bps, own)

    # --- routes --------------------------------------------------------------------------

    def _routes(self) -> None:
        by_domain: dict[str, list[int]] = {host: [] for host in self._graph.hosts}
        for number, (port, _) in enumerate(self._forwarding.attached):
            by_domain[port.domain].append(number)
        for numbers in by_domain.values():
            for number in numbers:
                what = self._attachments[number]
                if what.nic == "cnic":
                    self._compute_routes(number)
                elif what.network != "plain":
                    self._route(number, MAIN_TABLE, _NETWORKS[what.network])
            plain = [n for n in numbers if self._attachments[n].network == "plain"]
            self._plain_routes(plain)

    def _route(self, number: int, table: int, destination: str) -> None:
        port = self._forwarding.attached[number].port
        self._elements.append(
            Route(
                port.domain,
                table,
                destination,
                port.device,
                port.address,
                self._settings.rto_min_ms,
            )
        )

    def _source_routes(self, number: int, index: int, network: str) -> None:
        """What is sent from this port's address leaves by this port: bind() decides."""
        port = self._forwarding.attached[number].port
        table = _FIRST_TABLE + index
        self._elements.append(
            Rule(port.domain, _FIRST_PRIORITY + index, f"{port.address}/32", table)
        )
        self._route(number, table, network)

    def _compute_routes(self, number: int) -> None:
        port, edge = self._forwarding.attached[number]
        if self._roles[port.domain].kind == "hbm":
            self._route(number, MAIN_TABLE, COMPUTE_NETWORK)
            return
        rail = self._graph.switches[edge.other(port.domain).node]["rail"]
        self._route(number, MAIN_TABLE, rail_network(rail))
        self._source_routes(number, rail, COMPUTE_NETWORK)

    def _plain_routes(self, numbers: list[int]) -> None:
        """The first link has the whole network; the others what only they reach."""
        if not numbers:
            return
        self._route(numbers[0], MAIN_TABLE, _NETWORKS["plain"])
        known = set(self._forwarding.peers(numbers[0]))
        for index, number in enumerate(numbers[1:]):
            self._source_routes(number, index, _NETWORKS["plain"])
            for peer in self._forwarding.peers(number):
                if peer not in known:
                    known.add(peer)
                    address = self._forwarding.attached[peer].port.address
                    self._route(number, MAIN_TABLE, f"{address}/32")

    # --- checks --------------------------------------------------------------------------

    def _check(self, elements: frozenset[AnyElement]) -> None:
        if len(elements) != len(self._elements):
            raise TopologyError(
                "two elements of the plan are the same", hint="a host or switch is named twice?"
            )
        if FABRIC in self._graph.hosts:
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
