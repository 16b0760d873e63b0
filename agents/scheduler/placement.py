"""Where requests are served: the interface of a placement, and the two that place at once.

Decisions only; the scheduler's process says what has arrived, what is read and what has ended.
`agents.scheduler.pull` is the paper's, which waits for engines to fetch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from agents.loss import bereft
from agents.scheduler.state import Ask, GroupReport


class Placed(NamedTuple):
    """The two engines, (node, rail), that serve a request."""

    request: int
    prefill: tuple[str, int]
    decode: tuple[str, int]


class Placement(Protocol):
    """Finds engines for requests, and knows the read queues of nodes."""

    def submit(self, ask: Ask) -> list[Placed]:
        """A request has arrived; what can be placed now."""

    def fetch(self, report: GroupReport) -> list[Placed]:
        """A group fetches; what can be placed now."""

    def reading(self, request: int, node: str, tokens: int) -> None:
        """A node will read a request's hit tokens from storage."""

    def read_finished(self, request: int, node: str) -> None:
        """A node has read them."""

    def read_queue(self, node: str) -> tuple[int, int]:
        """Tokens and requests of the reads that are assigned to a node and not finished."""

    def ended(self, request: int) -> None:
        """A request has ended, well or not; KeyError if it is not placed."""

    def adopt(self, ask: Ask, prefill: tuple[str, int], decode: tuple[str, int]) -> None:
        """A request was placed by a scheduler before this one."""

    def lose(self, node: str) -> None:
        """A prefill or decode node is lost: nothing is placed there any more."""

    @property
    def bereft(self) -> str:
        """ "prefill" or "decode" if no node of that role is left: nothing can be placed."""


class _Role:
    """The engines of one role, and how many unfinished tokens the scheduler has given each."""

    def __init__(self, nodes: Sequence[str], rails: int) -> None:
        self._nodes, self._rails = list(nodes), rails
        self._tokens = {node: [0] * rails for node in nodes}
        self._placed: dict[int, tuple[str, int, int]] = {}
        self._turns = 0

    def lose(self, node: str) -> None:
        """Nothing more for a node."""
        if node in self._nodes:
            self._nodes.remove(node)

    def least(self) -> tuple[str, int]:
        """The node with the fewest tokens, and of it the engine; the first of equals.

        A node's engines share its storage NIC, so the node comes first.
        """
        node = min(self._nodes, key=lambda name: sum(self._tokens[name]))
        rails = self._tokens[node]
        return node, rails.index(min(rails))

    def next(self) -> tuple[str, int]:
        """All nodes in turn, and on each its engines in turn."""
        rail, node = divmod(self._turns, len(self._nodes))
        self._turns += 1
        return self._nodes[node], rail % self._rails

    def place(self, request: int, engine: tuple[str, int], tokens: int) -> tuple[str, int]:
        """Count a request's tokens until `end`; ValueError if they are counted already."""
        if request in self._placed:
            raise ValueError(f"request {request} is placed already")
        node, rail = engine
        self._tokens[node][rail] += tokens
        self._placed[request] = (node, rail, tokens)
        return engine

    def end(self, request: int) -> None:
        """It counts no longer."""
        node, rail, tokens = self._placed.pop(request)
        self._tokens[node][rail] -= tokens


class AtOnce:
    """Places each request when it arrives, and needs no reports.

    Load is counted in tokens of unfinished requests, hit tokens included, as the paper's scheduler
    counts it.  Read queues are those that the scheduler itself has filled.

    Args:
        prefill, decode: node names.
        rails: engines of each.
        by_tokens: to the engine with the least tokens; else to each in turn.
    """

    def __init__(
        self, prefill: Sequence[str], decode: Sequence[str], rails: int, *, by_tokens: bool
    ) -> None:
        self._roles = (_Role(prefill, rails), _Role(decode, rails))
        self._by_tokens = by_tokens
        self._queued: dict[str, dict[int, int]] = {node: {} for node in [*prefill, *decode]}
        self._names = (tuple(prefill), tuple(decode))
        self._lost: set[str] = set()

    def submit(self, ask: Ask) -> list[Placed]:
        """The request, placed."""
        first, second = (r.least() if self._by_tokens else r.next() for r in self._roles)
        self.adopt(ask, first, second)
        return [Placed(ask.request, first, second)]

    def adopt(self, ask: Ask, prefill: tuple[str, int], decode: tuple[str, int]) -> None:
        """Its tokens count until it ends."""
        for role, engine, tokens in zip(
            self._roles, (prefill, decode), (ask.prompt_tokens, ask.tokens), strict=True
        ):
            role.place(ask.request, engine, tokens)

    def fetch(self, report: GroupReport) -> list[Placed]:
        """Nothing waits."""
        return []

    def reading(self, request: int, node: str, tokens: int) -> None:
        """The read joins its node's queue."""
        self._queued[node][request] = tokens

    def read_finished(self, request: int, node: str) -> None:
        """The read leaves it."""
        self._queued[node].pop(request, None)

    def read_queue(self, node: str) -> tuple[int, int]:
        """Tokens and requests."""
        queued = self._queued[node]
        return sum(queued.values()), len(queued)

    def ended(self, request: int) -> None:
        """A request that failed may never have read."""
        for role in self._roles:
            role.end(request)
        for queued in self._queued.values():
            queued.pop(request, None)

    def lose(self, node: str) -> None:
        """Its turn passes to the others."""
        self._lost.add(node)
        for role in self._roles:
            role.lose(node)

    @property
    def bereft(self) -> str:
        """The role that has no node left."""
        return bereft(self._lost, *self._names)
