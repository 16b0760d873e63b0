"""Names of queue pairs: which memory domains they join, by which port, in which lane."""

from __future__ import annotations

import functools
from typing import Literal, NamedTuple

Side = Literal["caller", "called"]


class Route(NamedTuple):
    """The two memory domains that a queue pair joins, seen from this process, and its port."""

    local: str
    remote: str
    port: str  # that was called; with its lane, if that is not kv


def pair_name(caller: str, target: str, device: str, side: Side, lane: str = "kv") -> str:
    """The name of one end of a queue pair: who called which port, in which lane, which end."""
    port = device if lane == "kv" else f"{device}:{lane}"
    return f"{caller}>{target}/{port}#{side}"


@functools.cache
def parse_pair(name: str) -> Route:
    """The domains that a queue pair joins, seen from the end that `name` names."""
    ends, _, side = name.partition("#")
    caller, _, called = ends.partition(">")
    target, _, port = called.partition("/")
    return Route(caller, target, port) if side == "caller" else Route(target, caller, port)
