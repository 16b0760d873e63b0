"""A Mininet Topo as a graph of hosts, switches and links, checked."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable
from typing import Any, NamedTuple

from mininet.topo import Topo

from testbed.errors import TopologyError, UnsupportedError

LONGEST_INTERFACE_NAME = 15  # IFNAMSIZ - 1
LEAST_RATE_BPS, MOST_RATE_BPS = 64_000, 1_000_000_000_000
_LINK_OPTIONS = {"bw", "port1", "port2", "node1", "node2"}
_IMPAIRMENTS = {"delay", "jitter", "loss"}
# What Mininet knows and this testbed decides by itself.
_IGNORED_LINK_OPTIONS = {"intfName1", "intfName2", "cls", "use_htb", "max_queue_size"}
_IGNORED_HOST_OPTIONS = {
    "addresses are numbered by the testbed": {"ip", "mac", "defaultRoute"},
    "programs share the machine's processors": {"cpu", "cores"},
    "hosts are network namespaces": {"cls"},
}
IGNORED_HOST_OPTIONS = set().union(*_IGNORED_HOST_OPTIONS.values())
# Everybody knows everybody: so many hosts are 10^8 neighbours, 50 GB of kernel memory.  Planning
# takes the square of their number, too, and is to refuse in a moment what nothing can hold.
_MOST_HOSTS = 10_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class IgnoredOptionWarning(UserWarning):
    """A Topo says something that has no effect here."""


class End(NamedTuple):
    """One end of a link: a node of the Topo, and its port number there."""

    node: str
    port: int


class Edge(NamedTuple):
    """A link of the Topo; `rate_bps` None means unshaped."""

    a: End
    b: End
    rate_bps: int | None

    def end(self, node: str) -> End:
        """The end at `node`."""
        return self.a if self.a.node == node else self.b

    def other(self, node: str) -> End:
        """The end that is not at `node`."""
        return self.b if self.a.node == node else self.a


class Graph(NamedTuple):
    """Hosts and switches with their options, and links, in the Topo's order.

    `annotated` says whether any host is a memory domain (see `testbed.plan.nic`).
    """

    hosts: dict[str, dict[str, Any]]
    switches: dict[str, dict[str, Any]]
    edges: list[Edge]
    at: dict[str, list[Edge]]
    annotated: bool

    def neighbours(self, node: str) -> list[str]:
        """Nodes linked to `node`."""
        return [edge.other(node).node for edge in self.at[node]]


def read_topo(topo: Topo) -> Graph:
    """The graph of a Topo.

    Raises:
        TopologyError: it makes no sense as a cluster.
        UnsupportedError: it asks for an impairment that needs netem.
    """
    hosts = {name: dict(topo.nodeInfo(name)) for name in topo.hosts(sort=False)}
    switches = {name: dict(topo.nodeInfo(name)) for name in topo.switches(sort=False)}
    if not hosts:
        raise TopologyError("the topology has no hosts", hint="add some with addHost")
    if len(hosts) > _MOST_HOSTS:
        raise TopologyError(
            f"the topology has {len(hosts)} hosts; no machine holds more than {_MOST_HOSTS}",
            hint="make the topology smaller",
        )
    for name in [*hosts, *switches]:
        if not _NAME.fullmatch(name):
            raise TopologyError(
                f"{name!r} cannot be the name of a host or switch",
                hint="use letters, digits, '.', '_' and '-', a letter or digit first",
            )
    edges = [_edge(a, b, info) for a, b, _, info in topo.iterLinks(withKeys=True, withInfo=True)]
    at: dict[str, list[Edge]] = {name: [] for name in [*hosts, *switches]}
    for edge in edges:
        if edge.a.node == edge.b.node:
            raise TopologyError(f"{edge.a.node} is linked to itself", hint="remove that link")
        at[edge.a.node].append(edge)
        at[edge.b.node].append(edge)
    for name in hosts:
        if not at[name]:
            raise TopologyError(f"host {name} has no link", hint="link it to a switch")
    for reason, options in _IGNORED_HOST_OPTIONS.items():
        _warn_of_ignored(hosts.items(), options, reason)
    links = ((f"{a}-{b}", info) for a, b, _, info in topo.iterLinks(withKeys=True, withInfo=True))
    _warn_of_ignored(links, _IGNORED_LINK_OPTIONS, "links are HTB queues of one depth")
    annotated = any("memory" in options for options in hosts.values())
    return Graph(hosts, switches, edges, at, annotated)


def _warn_of_ignored(
    named: Iterable[tuple[str, dict[str, Any]]], ignored: set[str], reason: str
) -> None:
    found: dict[str, list[str]] = {}
    for name, options in named:
        for option in sorted(ignored & _given(options)):
            found.setdefault(option, []).append(name)
    for option, names in found.items():
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        warnings.warn(
            f"{option}= of {', '.join(names[:3])}{more} has no effect here: {reason}",
            IgnoredOptionWarning,
            stacklevel=4,
        )


def _given(options: dict[str, Any]) -> set[str]:
    """The options that say something: Mininet's own defaults are None."""
    return {name for name, value in options.items() if value is not None}


def _edge(a: str, b: str, info: dict[str, Any]) -> Edge:
    named = f"the link {a} - {b}"
    if impaired := sorted(name for name in _IMPAIRMENTS if info.get(name) not in (None, 0, "0ms")):
        raise UnsupportedError(
            f"{named} asks for {', '.join(impaired)}, which needs the kernel's netem scheduler; "
            "links of this testbed are shaped in rate only",
            hint="remove the option",
        )
    if unknown := sorted(_given(info) - _LINK_OPTIONS - _IMPAIRMENTS - _IGNORED_LINK_OPTIONS):
        raise TopologyError(
            f"{named} has options that are not understood: {', '.join(unknown)}",
            hint="a link takes bw=, in Mbit/s",
        )
    node1, node2 = info.get("node1", a), info.get("node2", b)
    return Edge(
        End(node1, int(info["port1"])),
        End(node2, int(info["port2"])),
        rate_of(info.get("bw"), named),
    )


def rate_of(mbit: object, named: str) -> int | None:
    """A Mininet `bw` as bits per second, rounded to what HTB can hold (whole bytes)."""
    if mbit is None:
        return None
    if isinstance(mbit, str) or not isinstance(mbit, int | float):
        raise TopologyError(
            f"{named} has bw={mbit!r}", hint="bw is a plain number of Mbit/s, as in Mininet"
        )
    rate = round(mbit * 1e6 / 8) * 8 if math.isfinite(mbit) else 0
    if not LEAST_RATE_BPS <= rate <= MOST_RATE_BPS:
        raise TopologyError(f"{named} has bw={mbit:g} Mbit/s", hint="use 0.064 … 1 000 000")
    return rate
