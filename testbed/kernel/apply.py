"""Making a plan true, step by step, in network namespaces that hold nothing yet.

The order matters: parameters before devices (so that no device ever has IPv6), shapers before
devices are up (grafting a qdisc onto a device that is up waits for a grace period of the
kernel), addresses and all that hangs on them after.  It holds within each part of a plan, and
parts are made as their namespaces come.
"""

from __future__ import annotations

import functools
import ipaddress
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import NamedTuple, Self

from testbed.errors import KernelError
from testbed.kernel import messages, shaper_messages
from testbed.kernel.neighbours import NeighbourWriter
from testbed.kernel.netlink import Request, RouteSocket, route_sockets
from testbed.kernel.parts import Part, Place, by_kind, divide, merged
from testbed.kernel.settling import settle, unsettled
from testbed.kernel.shaping import DeviceShaper, ShaperWriter
from testbed.kernel.subjects import subject
from testbed.kernel.sysctls import write_sysctls
from testbed.plan.model import (
    Address,
    AnyElement,
    Bridge,
    FdbEntry,
    Ifb,
    Namespace,
    Neighbours,
    Plan,
    Port,
    Redirect,
    Route,
    Rule,
    Sysctl,
    Veth,
)

# The kernel numbers devices that nobody numbered from 2 up: nothing foreign meets ours.
_FIRST_INDEX = 1000


class Step(NamedTuple):
    """A step of making a part of a plan."""

    name: str
    run: Callable[[Part], None]


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
    names = sorted(each.name for each in plan.elements if isinstance(each, Namespace))
    if missing := [name for name in names if name not in namespaces]:
        raise KernelError(f"no network namespace was made for {', '.join(missing)}")
    with Construction(plan, names, before) as construction:
        construction.step("sysctls", lambda: write_sysctls(_sysctls(plan), namespaces))
        construction.go_on({name: namespaces[name] for name in names})
        construction.finish()


def _sysctls(plan: Plan) -> list[Sysctl]:
    return [element for element in plan.elements if isinstance(element, Sysctl)]


class Construction:
    """A plan that is made in parts, as its namespaces come; its parameters are set by then.

    Args:
        plan: what to make.
        order: its namespaces, as they will come.
        before: as for `apply`.

    Raises:
        KernelError, UnsupportedError: as `apply`; so do all its methods.
    """

    def __init__(
        self, plan: Plan, order: Sequence[str], before: Callable[[str], None] | None = None
    ) -> None:
        elements = by_kind(plan)
        self._before = before
        self._bridges = {(b.namespace, b.device): b for b in elements.of(Bridge)}
        self._veths = {(v.namespace, v.device): v for v in elements.of(Veth)}
        self._ifbs = {(i.namespace, i.device): i for i in elements.of(Ifb)}
        self._masters = {(p.namespace, p.device): p for p in elements.of(Port)}
        # Unique in the whole cluster: readback pairs the ends of a veth by these alone.
        places = sorted([*self._bridges, *self._ifbs, *self._veths])
        self._indexes = {place: _FIRST_INDEX + i for i, place in enumerate(places)}
        self._parts = divide(elements, order)
        self._namespaces: dict[str, int] = {}
        self._sockets: dict[str, RouteSocket] = {}
        self._unsettled: dict[str, list[int]] = {}
        self._queued: dict[str, list[Request]] = {}
        self._made_in_bridge: set[Place] = set()
        self._hooked: set[Place] = set()
        self._opened = ExitStack()
        self._shapers, self._neighbours = ShaperWriter(), NeighbourWriter()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        self._opened.close()

    def go_on(self, namespaces: Mapping[str, int]) -> None:
        """Make what the next namespaces in order, name -> descriptor, allow to be made."""
        self._sockets |= self._opened.enter_context(route_sockets(namespaces, namespaces))
        first = len(self._namespaces)
        self._namespaces |= namespaces
        part = merged(self._parts[first : len(self._namespaces)])
        for name, run in self._steps():
            self.step(name, functools.partial(run, part))
        self._look(part)

    def finish(self) -> None:
        """Wait until all links carry frames."""
        self.step("settle", self._settle)

    def step(self, name: str, run: Callable[[], None]) -> None:
        """Take a step."""
        if self._before is not None:
            self._before(name)
        run()

    def _steps(self) -> Sequence[Step]:
        return [
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
            Step("forwarding", self._make_forwarding),
            Step("neighbours", self._make_neighbours),
        ]

    def _index(self, element: AnyElement, place: Place) -> int:
        try:
            return self._indexes[place]
        except KeyError:
            raise KernelError(
                f"{subject(element)} needs a device {place[1]} in {place[0]}; the plan has none"
            ) from None

    def _index_of(self, device: Bridge | Ifb | Veth) -> int:
        return self._indexes[device.namespace, device.device]

    def _queue(self, requests: Iterable[tuple[str, Request]]) -> None:
        """Have requests carried out, in order within each namespace, at the next `_flush`."""
        for namespace, request in requests:
            self._queued.setdefault(namespace, []).append(request)

    def _flush(self) -> None:
        for namespace, batch in self._queued.items():
            self._sockets[namespace].submit(batch)
        self._queued.clear()

    # --- devices -----------------------------------------------------------------------------

    def _make_bridges(self, part: Part) -> None:
        fill = messages.bridge().fill
        self._queue(
            (b.namespace, Request(fill(self._index_of(b), *_name(b), b.mtu), b))
            for b in part.elements.of(Bridge)
        )

    def _make_ifbs(self, part: Part) -> None:
        fill = messages.ifb().fill
        self._queue(
            (i.namespace, Request(fill(self._index_of(i), *_name(i), *_sizes(i)), i))
            for i in part.elements.of(Ifb)
        )

    def _make_veths(self, part: Part) -> None:
        fill = messages.veth().fill
        requests = []
        ends = {(veth.namespace, veth.device): veth for veth in part.elements.of(Veth)}
        for place, near in sorted(ends.items(), key=self._bridged_first):
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
            if place in self._masters:
                self._made_in_bridge.add(place)
        self._queue(requests)
        self._flush()  # what follows is asked for in the namespaces of both ends

    def _bridged_first(self, item: tuple[Place, Veth]) -> tuple[bool, Place]:
        """The end that makes a pair is one in a bridge, which the same message can name."""
        place, _ = item
        return (place not in self._masters, place)

    def _master_index(self, place: Place) -> int:
        port = self._masters.get(place)
        return 0 if port is None else self._index(port, (port.namespace, port.bridge))

    def _make_ports(self, part: Part) -> None:
        enslave, configure = messages.master().fill, messages.port().fill
        requests = []
        for port in part.elements.of(Port):
            place = (port.namespace, port.device)
            index = self._index(port, place)
            if place not in self._made_in_bridge:
                message = enslave(index, self._master_index(place))
                requests.append((port.namespace, Request(message, port)))
            flags = (port.learning, port.flood, port.multicast_flood, port.broadcast_flood)
            requests.append((port.namespace, Request(configure(index, *flags), port)))
        self._queue(requests)

    def _set_up(self, part: Part) -> None:
        fill, of = messages.up().fill, part.elements.of
        devices: list[Bridge | Ifb | Veth] = [*of(Bridge), *of(Ifb), *of(Veth)]
        # Bridges first: a port of a bridge that is down would have to be told later.
        self._queue(
            (device.namespace, Request(fill(self._index_of(device)), device))
            for device in devices
            if device.up
        )

    def _look(self, part: Part) -> None:
        """Ask for the links that are to carry frames, which hastens it; remember who does not."""
        devices: dict[str, list[int]] = {}
        for veth in part.elements.of(Veth):
            if veth.up and self._veths[veth.peer_namespace, veth.peer_device].up:
                devices.setdefault(veth.namespace, []).append(self._index_of(veth))
        for namespace, indexes in unsettled(self._sockets, devices).items():
            self._unsettled.setdefault(namespace, []).extend(indexes)

    def _settle(self) -> None:
        settle(self._sockets, self._unsettled)
        # A device is said to be up a moment before its queues are; whoever changes a device next
        # waits for the lock under which both happen.
        for veth in [veth for veth in self._veths.values() if veth.up][:1]:
            message = messages.up().fill(self._index_of(veth))
            self._queue([(veth.namespace, Request(message, veth))])
            self._flush()

    # --- shapers -----------------------------------------------------------------------------

    def _make_shapers(self, part: Part) -> None:
        self._flush()
        devices = self._ifbs | self._veths
        for place, parts in part.shapers.items():
            index = self._index(parts.shaper, place)
            queue = devices[place].txqueuelen if place in devices else 0
            self._shapers.write(DeviceShaper(index, queue, parts), self._sockets[place[0]])

    def _make_redirects(self, part: Part) -> None:
        hook, fill = shaper_messages.clsact().fill, shaper_messages.redirect().fill
        requests = []
        for redirect in part.elements.of(Redirect):
            place = (redirect.namespace, redirect.device)
            index = self._index(redirect, place)
            target = self._index(redirect, (redirect.namespace, redirect.target))
            if place not in self._hooked:
                self._hooked.add(place)
                requests.append((redirect.namespace, Request(hook(index), redirect)))
            message = fill(index, shaper_messages.CLSACT_PARENT[redirect.direction], target)
            requests.append((redirect.namespace, Request(message, redirect)))
        self._queue(requests)

    # --- addresses and forwarding ------------------------------------------------------------

    def _make_addresses(self, part: Part) -> None:
        fill = messages.ipv4_address().fill
        requests = []
        for address in sorted(part.elements.of(Address), key=lambda a: (a.namespace, a.address)):
            index = self._index(address, (address.namespace, address.device))
            packed = _ip(address.address)
            message = fill(index, address.prefix_len, packed, packed)
            requests.append((address.namespace, Request(message, address)))
        self._queue(requests)

    def _make_routes(self, part: Part) -> None:
        fill = messages.route().fill
        requests = []
        for route in part.elements.of(Route):
            network = _network(route, route.destination)
            message = fill(
                network.prefixlen, route.table, network.network_address.packed,
                self._index(route, (route.namespace, route.device)),
                _ip(route.source), route.rto_min_ms,
            )  # fmt: skip
            requests.append((route.namespace, Request(message, route)))
        self._queue(requests)

    def _make_rules(self, part: Part) -> None:
        fill = messages.rule().fill
        requests = []
        for rule in part.elements.of(Rule):
            network = _network(rule, rule.source)
            message = fill(
                network.prefixlen, rule.priority, network.network_address.packed, rule.table
            )
            requests.append((rule.namespace, Request(message, rule)))
        self._queue(requests)

    def _make_neighbours(self, part: Part) -> None:
        self._flush()
        for each in part.elements.of(Neighbours):
            index = self._index(each, (each.namespace, each.device))
            self._neighbours.write(each, index, self._sockets[each.namespace])

    def _make_forwarding(self, part: Part) -> None:
        fill = messages.fdb_entry().fill
        self._queue(
            (f.namespace, Request(fill(self._index(f, (f.namespace, f.device)), _mac(f.mac)), f))
            for f in part.elements.of(FdbEntry)
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
