"""Who takes part in collectives: the engines of a role, their queue pairs and landing places.

Queue pairs join engines of the same rail on different nodes (by their CNICs), and GPUs of one
node (by NVLink).  Nothing else: what is for another rail of another node goes to that node by the
own rail, and on from there by NVLink.
"""

from __future__ import annotations

from typing import NamedTuple

from agents.wire.pair_names import Side, pair_name

LANE = "model"
NVLINK = "nvl"
MOST_RAILS = 64  # the addresses of a plan
SLOT_BYTES = 1 << 20


class Call(NamedTuple):
    """A queue pair to open: `rail`'s HBM domain calls the port `device` of another."""

    rail: int
    target: str
    device: str


class Members:
    """The engines of one role, as one of its nodes sees them.

    Args:
        nodes: of the role, in the order that all of them know.
        own: the node that asks.
        rails: engines of each node.
        nvlink: whether GPUs of a node are joined.
        role: "prefill" or "decode".
    """

    def __init__(
        self, nodes: list[str], own: str, rails: int, *, nvlink: bool, role: str = "prefill"
    ) -> None:
        self.role = role
        self.nodes = nodes
        self.own = own
        self.rails = rails
        self.nvlink = nvlink and rails > 1
        self.number = nodes.index(own)
        self._lost: set[int] = set()

    @property
    def remote(self) -> list[int]:
        """Numbers of the other nodes that are there."""
        return [n for n in range(len(self.nodes)) if n not in self._lost | {self.number}]

    def lose(self, node: str) -> int | None:
        """A node is lost: it takes no part any more.  Its number, if it was of the role."""
        if node not in self.nodes or node == self.own:
            return None
        number = self.nodes.index(node)
        self._lost.add(number)
        return number

    def others(self, rail: int) -> list[int]:
        """Rails of the node's other GPUs, if they are joined."""
        return [r for r in range(self.rails) if r != rail] if self.nvlink else []

    def domain(self, node: int, rail: int) -> str:
        """The HBM domain of an engine."""
        return f"{self.nodes[node]}g{rail}"

    def engine(self, node: int, rail: int) -> int:
        """The number of an engine in its role."""
        return node * self.rails + rail

    def rail_of(self, domain: str) -> int:
        """The rail of one of this node's HBM domains."""
        return int(domain.removeprefix(f"{self.own}g"))

    # --- queue pairs -------------------------------------------------------------------

    def calls(self) -> list[Call]:
        """What this node opens: of two ends the later one in order calls."""
        by_cnic = [
            Call(rail, self.domain(node, rail), f"cnic{rail}")
            for rail in range(self.rails)
            for node in range(self.number)
        ]
        inside = [
            Call(rail, self.domain(self.number, other), NVLINK)
            for rail in range(self.rails)
            for other in self.others(rail)
            if other < rail
        ]
        return by_cnic + inside

    def pair_count(self) -> int:
        """Ends of queue pairs in this process; both of those inside the node."""
        inside = sum(len(self.others(rail)) for rail in range(self.rails))
        return len(self.remote) * self.rails + inside

    def to_node(self, rail: int, node: int) -> str:
        """The own end of the queue pair of a rail to another node."""
        own, other = self.domain(self.number, rail), self.domain(node, rail)
        return _end(own, other, f"cnic{rail}", calls=node < self.number)

    def to_gpu(self, rail: int, other: int) -> str:
        """The end at `rail` of the queue pair to another GPU of this node."""
        own, peer = self.domain(self.number, rail), self.domain(self.number, other)
        return _end(own, peer, NVLINK, calls=other < rail)

    # --- landing places ----------------------------------------------------------------

    @property
    def inbox_bytes(self) -> int:
        """Of one engine: for every engine of the role a place for tokens and one for results."""
        return 2 * len(self.nodes) * self.rails * SLOT_BYTES

    def tokens_at(self, initiator: int) -> int:
        """Where in an inbox the tokens of an engine land."""
        return 2 * initiator * SLOT_BYTES

    def results_at(self, source: int) -> int:
        """Where in an inbox the results of an engine land."""
        return (2 * source + 1) * SLOT_BYTES


def _end(own: str, other: str, device: str, *, calls: bool) -> str:
    caller, target = (own, other) if calls else (other, own)
    side: Side = "caller" if calls else "called"
    return pair_name(caller, target, device, side, LANE)
