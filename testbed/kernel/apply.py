"""Making a plan true, step by step, in network namespaces that hold nothing yet.

The order matters: parameters before devices (so that no device ever has IPv6), shapers before
devices are up (grafting a qdisc onto a device that is up waits for a grace period of the
kernel), addresses and all that hangs on them after.
"""

from __future__ import annotations

import functools
import ipaddress
import select
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from testbed.errors import KernelError
from testbed.kernel import messages, shaper_messages
from testbed.kernel.links import is_settled, list_links
from testbed.kernel.neighbours import NeighbourWriter
from testbed.kernel.netlink import Request, RouteSocket, route_sockets
from testbed.kernel.shaping import DeviceShaper, ShaperWriter, shapers_by_device
from testbed.kernel.subjects import subject
from testbed.kernel.sysctls import write_sysctls
from testbed.plan.model import (
    Address,
    AnyElement,
    Bridge,
    FdbEntry,
    Filter,
    Ifb,
    Namespace,
    Neighbour,
    Neighbours,
    Plan,
    Port,
    Redirect,
    Route,
    Rule,
    Shaper,
    ShaperClass,
    Sysctl,
    Unknown,
    Veth,
)

# The kernel numbers devices that nobody numbered from 2 up: nothing foreign meets ours.
_FIRST_INDEX = 1000
_SETTLE_S = 10.0
_POLL_MS = 1

T = TypeVar("T", bound=AnyElement)
Place = tuple[str, str]  # namespace, device


class Step(NamedTuple):
    """A part of applying a plan."""

    name: str
    run: Callable[[], None]


def apply(
    plan: Plan, namespaces: Mapping[str, int], before: Callable[[str], None] | None = None
) -> None:
    """Make every element of a plan.

    Args:
        plan: what to make.
        namespaces: name -> descriptor of the network namespace, as they were made.
        before: called with the name of each step before it is taken; what it raises ends all.

    Raises:
        KernelError: the kernel refused an element, which the message names; the namespaces
            then hold a part of the plan and are good for nothing.
        UnsupportedError: the kernel lacks something that the plan needs.
    """
    elements = _by_kind(plan)
    names = {each.name for each in _of(elements, Namespace)}
    if missing := sorted(names - namespaces.keys()):
        raise KernelError(f"no network namespace was made for {', '.join(missing)}")
    with route_sockets(namespaces, sorted(names)) as sockets:
        for step in _Work(elements, namespaces, sockets).steps():
            if before is not None:
                before(step.name)
            step.run()


def _by_kind(plan: Plan) -> dict[type, list[AnyElement]]:
    elements: dict[type, list[AnyElement]] = {}
    for element in plan.elements:
        elements.setdefault(type(element), []).append(element)
    for kind in (Unknown, Neighbour):  # which only readback and differences speak of
        if unknown := elements.get(kind):
            raise KernelError(f"no plan can ask for {subject(unknown[0])}")
    return elements


def _of(elements: dict[type, list[AnyElement]], kind: type[T]) -> list[T]:
    return elements.get(kind, [])  # type: ignore[return-value]


class _Work:
    def __init__(
        self,
        elements: dict[type, list[AnyElement]],
        namespaces: Mapping[str, int],
        sockets: Mapping[str, RouteSocket],
    ) -> None:
        self._elements = elements
        self._namespaces = namespaces
        self._sockets = sockets
        self._bridges = {(b.namespace, b.device): b for b in self._all(Bridge)}
        self._veths = {(v.namespace, v.device): v for v in self._all(Veth)}
        self._ifbs = {(i.namespace, i.device): i for i in self._all(Ifb)}
        self._masters = {(p.namespace, p.device): p for p in self._all(Port)}
        # Unique in the whole cluster: readback pairs the ends of a veth by these alone.
        places = sorted([*self._bridges, *self._ifbs, *self._veths])
        self._indexes = {place: _FIRST_INDEX + i for i, place in enumerate(places)}

    def steps(self) -> Sequence[Step]:
        return [
            Step("sysctls", lambda: write_sysctls(self._all(Sysctl), self._namespaces)),
            Step("bridges", self._make_bridges),
            Step("veths", self._make_veths),
            Step("ifbs", self._make_ifbs),
            Step("ports", self._make_ports),
            Step("shapers", self._make_shapers),
            Step("redirects", self._make_redirects),
            Step("up", self._set_up),
            Step("addresses", self._make_addresses),
            Step("routes", self._make_routes),
            Step("rules", self._make_rules),
            Step("neighbours", self._make_neighbours),
            Step("forwarding", self._make_forwarding),
            Step("settle", self._settle),
        ]

    def _all(self, kind: type[T]) -> list[T]:
        return _of(self._elements, kind)

    def _index(self, element: AnyElement, place: Place) -> int:
        try:
            return self._indexes[place]
        except KeyError:
            raise KernelError(
                f"{subject(element)} needs a device {place[1]} in {place[0]}; the plan has none"
            ) from None

    def _submit(self, requests: Iterable[tuple[str, Request]]) -> None:
        by_namespace: dict[str, list[Request]] = {}
        for namespace, request in requests:
            by_namespace.setdefault(namespace, []).append(request)
        for namespace, batch in by_namespace.items():
            self._sockets[namespace].submit(batch)

    # --- devices -----------------------------------------------------------------------------

    def _make_bridges(self) -> None:
        fill = messages.bridge().fill
        self._submit(
            (b.namespace, Request(fill(self._indexes[place], *_name(b), b.mtu), b))
            for place, b in self._bridges.items()
        )

    def _make_ifbs(self) -> None:
        fill = messages.ifb().fill
        self._submit(
            (i.namespace, Request(fill(self._indexes[place], *_name(i), *_sizes(i)), i))
            for place, i in self._ifbs.items()
        )

    def _make_veths(self) -> None:
        fill = messages.veth().fill
        requests = []
        for place, near in sorted(self._veths.items(), key=self._bridged_first):
            other = (near.peer_namespace, near.peer_device)
            far = self._veths.get(other)
            if far is None or (far.peer_namespace, far.peer_device) != place:
                raise KernelError(f"{subject(near)}: the plan's other end does not name this one")
            if self._bridged_first((place, near)) > self._bridged_first((other, far)):
                continue  # its other end makes both
            message = fill(
                self._indexes[place], *_name(near), *_sizes(near), self._master_index(place),
                self._indexes[other], *_name(far), *_sizes(far),
                self._namespaces[far.namespace],
            )  # fmt: skip
            requests.append((near.namespace, Request(message, near)))
        self._submit(requests)

    def _bridged_first(self, item: tuple[Place, Veth]) -> tuple[bool, Place]:
        """The end that makes a pair is one in a bridge, which the same message can name."""
        place, _ = item
        return (place not in self._masters, place)

    def _master_index(self, place: Place) -> int:
        port = self._masters.get(place)
        return 0 if port is None else self._index(port, (port.namespace, port.bridge))

    def _make_ports(self) -> None:
        enslave, configure = messages.master().fill, messages.port().fill
        requests = []
        for place, port in self._masters.items():
            index = self._index(port, place)
            # Repeating it is harmless where the port was made in its bridge.
            requests.append(
                (port.namespace, Request(enslave(index, self._master_index(place)), port))
            )
            flags = (port.learning, port.flood, port.multicast_flood, port.broadcast_flood)
            requests.append((port.namespace, Request(configure(index, *flags), port)))
        self._submit(requests)

    def _set_up(self) -> None:
        fill = messages.up().fill
        devices: dict[Place, Bridge | Ifb | Veth] = self._bridges | self._ifbs | self._veths
        # Bridges first: a port of a bridge that is down would have to be told later.
        self._submit(
            (device.namespace, Request(fill(self._indexes[place]), device))
            for place, device in devices.items()
            if device.up
        )

    def _settle(self) -> None:
        """Wait until links carry frames; the kernel sees to that in the background."""
        ups = {place for place, veth in self._veths.items() if veth.up}
        waiting: dict[str, set[int]] = {}
        for place in ups:
            veth = self._veths[place]
            if (veth.peer_namespace, veth.peer_device) in ups:
                waiting.setdefault(place[0], set()).add(self._indexes[place])
        deadline_s = time.monotonic() + _SETTLE_S
        poll = select.poll()
        while waiting:
            for namespace, indexes in list(waiting.items()):
                links = list_links(self._sockets[namespace])
                indexes -= {link.ifindex for link in links if is_settled(link)}
                if not indexes:
                    del waiting[namespace]
            if waiting and time.monotonic() > deadline_s:
                raise KernelError(
                    f"links in {', '.join(sorted(waiting))} do not come up",
                    hint="the machine may be overloaded; try again when it is quieter",
                )
            if waiting:
                poll.poll(_POLL_MS)
        # A device is said to be up a moment before its queues are; whoever changes devices next
        # waits for the lock under which both happen.
        self._set_up()

    # --- shapers -----------------------------------------------------------------------------

    def _make_shapers(self) -> None:
        queues: dict[Place, int] = {
            place: device.txqueuelen for place, device in (self._ifbs | self._veths).items()
        }
        writer = ShaperWriter()
        by_device = shapers_by_device(self._all(Shaper), self._all(ShaperClass), self._all(Filter))
        for place, parts in by_device.items():
            index = self._index(parts[0], place)
            device = DeviceShaper(index, queues.get(place, 0), parts)
            writer.write(device, self._sockets[place[0]])

    def _make_redirects(self) -> None:
        hook, fill = shaper_messages.clsact().fill, shaper_messages.redirect().fill
        requests, hooked = [], set()
        for redirect in self._all(Redirect):
            place = (redirect.namespace, redirect.device)
            index = self._index(redirect, place)
            target = self._index(redirect, (redirect.namespace, redirect.target))
            if place not in hooked:
                hooked.add(place)
                requests.append((redirect.namespace, Request(hook(index), redirect)))
            message = fill(index, shaper_messages.CLSACT_PARENT[redirect.direction], target)
            requests.append((redirect.namespace, Request(message, redirect)))
        self._submit(requests)

    # --- addresses and forwarding ------------------------------------------------------------

    def _make_addresses(self) -> None:
        fill = messages.ipv4_address().fill
        requests = []
        for address in sorted(self._all(Address), key=lambda a: (a.namespace, a.address)):
            index = self._index(address, (address.namespace, address.device))
            packed = _ip(address.address)
            message = fill(index, address.prefix_len, packed, packed)
            requests.append((address.namespace, Request(message, address)))
        self._submit(requests)

    def _make_routes(self) -> None:
        fill = messages.route().fill
        requests = []
        for route in self._all(Route):
            network = _network(route, route.destination)
            message = fill(
                network.prefixlen, route.table, network.network_address.packed,
                self._index(route, (route.namespace, route.device)),
                _ip(route.source), route.rto_min_ms,
            )  # fmt: skip
            requests.append((route.namespace, Request(message, route)))
        self._submit(requests)

    def _make_rules(self) -> None:
        fill = messages.rule().fill
        requests = []
        for rule in self._all(Rule):
            network = _network(rule, rule.source)
            message = fill(
                network.prefixlen, rule.priority, network.network_address.packed, rule.table
            )
            requests.append((rule.namespace, Request(message, rule)))
        self._submit(requests)

    def _make_neighbours(self) -> None:
        writer = NeighbourWriter()
        for each in self._all(Neighbours):
            index = self._index(each, (each.namespace, each.device))
            writer.write(each, index, self._sockets[each.namespace])

    def _make_forwarding(self) -> None:
        fill = messages.fdb_entry().fill
        self._submit(
            (f.namespace, Request(fill(self._index(f, (f.namespace, f.device)), _mac(f.mac)), f))
            for f in self._all(FdbEntry)
        )


def _name(device: Bridge | Ifb | Veth) -> tuple[bytes, bytes]:
    name = device.device.encode()
    if len(name) > messages.LONGEST_NAME_BYTES:
        raise KernelError(
            f"{subject(device)}: the name is longer than {messages.LONGEST_NAME_BYTES} bytes",
            hint="give the node or switch a shorter name",
        )
    return name, _mac(device.mac)


def _sizes(device: Ifb | Veth) -> tuple[int, int, int]:
    return device.mtu, device.gso_max_bytes, device.txqueuelen


@functools.cache
def _ip(text: str) -> bytes:
    return socket.inet_aton(text)


@functools.cache
def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _network(element: Route | Rule, text: str) -> ipaddress.IPv4Network:
    try:
        return ipaddress.IPv4Network(text)
    except ValueError as error:
        raise KernelError(f"{subject(element)}: {error}") from None
