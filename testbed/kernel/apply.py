"""Making a plan true: sysctls, devices, addresses, forwarding, shapers, redirections, in that order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from testbed.errors import KernelError
from testbed.kernel import messages
from testbed.kernel.namespaces import inside
from testbed.kernel.netlink import Netlink, Request
from testbed.plan.model import (
    Address,
    AnyElement,
    Bridge,
    FdbEntry,
    Filter,
    Ifb,
    Neighbour,
    Plan,
    Port,
    Redirect,
    Route,
    Rule,
    Shaper,
    ShaperClass,
    Sysctl,
    Veth,
)
from testbed.plan.sysctls import MANAGED_SYSCTLS

_FIRST_INDEX = 10
STEPS = ("sysctls", "devices", "ports", "addresses", "forwarding", "shapers", "redirections")
T = TypeVar("T")


def apply(
    plan: Plan, namespaces: Mapping[str, int], before: Callable[[str], None] | None = None
) -> None:
    """Make every element of a plan in empty namespaces.

    Args:
        plan: what to make.
        namespaces: name -> descriptor of the network namespace.
        before: called with the name of each step (`STEPS`) before it is taken.

    Raises:
        KernelError: the kernel refused an element; the namespaces are then good for nothing.
    """
    sockets = {name: Netlink(name, fd) for name, fd in namespaces.items()}
    try:
        work = _Work(plan, namespaces, sockets)
        for step in STEPS:
            if before is not None:
                before(step)
            getattr(work, step)()
    finally:
        for opened in sockets.values():
            opened.close()


class _Work:
    def __init__(
        self, plan: Plan, namespaces: Mapping[str, int], sockets: Mapping[str, Netlink]
    ) -> None:
        self._namespaces = namespaces
        self._sockets = sockets
        self._by_kind: dict[type, list[AnyElement]] = {}
        for element in plan.elements:
            self._by_kind.setdefault(type(element), []).append(element)
        devices = sorted(
            (e.namespace, e.device) for kind in (Bridge, Ifb, Veth) for e in self._of(kind)
        )
        # Unique over all namespaces: readback pairs the ends of a veth by these alone.
        self._index = {name: _FIRST_INDEX + i for i, name in enumerate(devices)}
        self._handles = {(s.namespace, s.device): s.handle for s in self._of(Shaper)}

    def _of(self, kind: type[T]) -> list[T]:
        return self._by_kind.get(kind, [])  # type: ignore[return-value]

    def _send(self, requests: Iterable[tuple[str, Request]]) -> None:
        by_namespace: dict[str, list[Request]] = {}
        for namespace, request in requests:
            by_namespace.setdefault(namespace, []).append(request)
        for namespace, batch in by_namespace.items():
            self._sockets[namespace].send(batch)

    def sysctls(self) -> None:
        optional = {s.key for s in MANAGED_SYSCTLS if s.absent is not None}
        by_namespace: dict[str, list[Sysctl]] = {}
        for element in self._of(Sysctl):
            by_namespace.setdefault(element.namespace, []).append(element)
        for namespace, elements in by_namespace.items():
            with inside(self._namespaces[namespace]):
                for element in elements:
                    _write(element, optional=element.key in optional)

    def devices(self) -> None:
        self._send((name, messages.loopback_up()) for name in self._namespaces)
        self._send(
            (e.namespace, messages.bridge(e, self._index[e.namespace, e.device]))
            for e in self._of(Bridge)
        )
        self._send(
            (e.namespace, messages.ifb(e, self._index[e.namespace, e.device]))
            for e in self._of(Ifb)
        )
        self._send(self._veths())

    def _veths(self) -> Iterable[tuple[str, Request]]:
        masters = {(p.namespace, p.device): p.bridge for p in self._of(Port)}
        ends = {(v.namespace, v.device): v for v in self._of(Veth)}
        made: set[tuple[str, str]] = set()
        second = []
        # The end in a bridge is made first: the bridge can be named in the same message.
        for name, near in sorted(ends.items(), key=lambda item: item[0] not in masters):
            other = (near.peer_namespace, near.peer_device)
            if name in made:
                continue
            made |= {name, other}
            master = masters.get(name)
            bridge = None if master is None else self._index[near.namespace, master]
            far_net = self._namespaces[near.peer_namespace]
            yield (
                near.namespace,
                messages.veth(near, ends[other], self._index, far_net, bridge),
            )
            second.append(other)
        for namespace, device in second:
            index = self._index[namespace, device]
            if (namespace, device) in masters:
                master = masters[namespace, device]
                yield (
                    namespace,
                    messages.enslave(device, index, master, self._index[namespace, master]),
                )
            yield namespace, messages.up(device, index)

    def ports(self) -> None:
        self._send(
            (p.namespace, messages.port(p, self._index[p.namespace, p.device]))
            for p in self._of(Port)
        )

    def addresses(self) -> None:
        self._send(
            (a.namespace, messages.address(a, self._index[a.namespace, a.device]))
            for a in self._of(Address)
        )

    def forwarding(self) -> None:
        index = self._index
        self._send((n.namespace, messages.neighbour(n, index[n.namespace, n.device]))
                   for n in self._of(Neighbour))  # fmt: skip
        self._send(
            (f.namespace, messages.fdb(f, index[f.namespace, f.device])) for f in self._of(FdbEntry)
        )
        self._send(
            (r.namespace, messages.route(r, index[r.namespace, r.device])) for r in self._of(Route)
        )
        self._send((r.namespace, messages.rule(r)) for r in self._of(Rule))

    def shapers(self) -> None:
        index, handles = self._index, self._handles
        self._send(
            (s.namespace, messages.shaper(s, index[s.namespace, s.device]))
            for s in self._of(Shaper)
        )
        # A class comes after its parent: inner classes have the smaller numbers.
        depth = {(c.namespace, c.device, c.classid): c.parent for c in self._of(ShaperClass)}

        def level(c: ShaperClass) -> int:
            steps, parent = 0, c.parent
            while parent:
                steps, parent = steps + 1, depth[c.namespace, c.device, parent]
            return steps

        self._send(
            (
                c.namespace,
                messages.shaper_class(
                    c, handles[c.namespace, c.device], index[c.namespace, c.device]
                ),
            )
            for c in sorted(self._of(ShaperClass), key=level)
        )
        self._send(
            (
                f.namespace,
                messages.packet_filter(
                    f, handles[f.namespace, f.device], index[f.namespace, f.device]
                ),
            )
            for f in sorted(self._of(Filter), key=lambda f: (f.priority, f.handle))
        )

    def redirections(self) -> None:
        index = self._index
        hooked = {(r.namespace, r.device) for r in self._of(Redirect)}
        self._send(
            (namespace, messages.clsact(namespace, device, index[namespace, device]))
            for namespace, device in hooked
        )
        self._send(
            (
                r.namespace,
                messages.redirect(r, index[r.namespace, r.device], index[r.namespace, r.target]),
            )
            for r in self._of(Redirect)
        )


def _write(element: Sysctl, *, optional: bool) -> None:
    path = Path("/proc/sys") / element.key
    try:
        # Not all may be written without rights in the host (tcp_congestion_control), but those that
        # are right already need not be.
        if path.read_text().split() != element.value.split():
            path.write_text(element.value)
    except FileNotFoundError:
        if not optional:
            raise KernelError(
                f"this kernel has no parameter {element.key}",
                hint="`testbed doctor` shows which kernels have it",
            ) from None
    except OSError as error:
        raise KernelError(
            f"{element.key} = {element.value!r} in {element.namespace}: {error.strerror}",
            hint="`testbed doctor` shows what this user may do",
        ) from error
