"""The pull model as a whole: requests wait for a prefill and for a decode engine at once.

Groups fetch; a fetch of a prefill group serves the prefill queue, one of a decode group the decode
queues.  A request is placed when it has both engines.  No I/O: whoever drives this says what
has arrived.
"""

from __future__ import annotations

from collections.abc import Sequence

from agents.loss import bereft
from agents.scheduler.decode import DecodeQueues
from agents.scheduler.placement import Placed
from agents.scheduler.prefill import PrefillQueue, Scope
from agents.scheduler.state import (
    Ask,
    EngineTable,
    FreeHBM,
    GroupReport,
    Pick,
    TieBreak,
    Ties,
    Unreported,
)


class PullScheduler:
    """DualPath's adaptive request scheduler, without the choice of the read path.

    Args:
        prefill, decode: node names.
        rails: engines of each.
        alpha_tokens, beta_tokens: see `agents.scheduler.prefill`.
        unreported, free_hbm: see `agents.scheduler.state.EngineTable`.
        ties, seed: see `agents.scheduler.state.TieBreak`.
        scope: see `agents.scheduler.prefill.PrefillQueue`.
    """

    def __init__(
        self,
        prefill: Sequence[str],
        decode: Sequence[str],
        rails: int,
        *,
        alpha_tokens: int,
        beta_tokens: int,
        unreported: Unreported = "counted",
        free_hbm: FreeHBM = "gross",
        ties: Ties = "seeded",
        seed: int = 0,
        scope: Scope = "cluster",
    ) -> None:
        self.prefill = EngineTable(prefill, rails, unreported=unreported)
        self.decode = EngineTable(decode, rails, unreported=unreported, free_hbm=free_hbm)
        tie_break = TieBreak(ties, seed)
        self._prefill_queue = PrefillQueue(
            self.prefill,
            alpha_tokens=alpha_tokens,
            beta_tokens=beta_tokens,
            ties=tie_break,
            scope=scope,
        )
        self._decode_queues = DecodeQueues(self.decode, ties=tie_break)
        self._half: dict[int, Pick] = {}
        self._asks: dict[int, Ask] = {}  # of requests that are not placed, in their order
        self._lost: set[str] = set()
        self._nodes: dict[int, tuple[str, str]] = {}

    @property
    def waiting(self) -> tuple[int, int]:
        """Requests that wait for a prefill engine, and for a decode engine."""
        return len(self._prefill_queue), len(self._decode_queues)

    def submit(self, ask: Ask) -> list[Placed]:
        """A request joins both queues; it is placed at some later fetch."""
        self._asks[ask.request] = ask
        self._prefill_queue.submit(ask)
        self._decode_queues.submit(ask)
        return []

    def fetch(self, report: GroupReport) -> list[Placed]:
        """A group fetches: the requests that now have both engines, in the order of placing."""
        if report.node in self.prefill.index:
            self.prefill.report(report)
            return self._joined(self._prefill_queue.fetch(report.node), is_prefill=True)
        self.decode.report(report)
        return self._joined(self._decode_queues.fetch(report.node), is_prefill=False)

    def _joined(self, picks: list[Pick], *, is_prefill: bool) -> list[Placed]:
        placed = []
        for pick in picks:
            other = self._half.pop(pick.request, None)
            if other is None:
                self._half[pick.request] = pick
                continue
            first, second = (pick, other) if is_prefill else (other, pick)
            self._nodes[pick.request] = (first.node, second.node)
            del self._asks[pick.request]
            placed.append(
                Placed(pick.request, (first.node, first.rail), (second.node, second.rail))
            )
        return placed

    def reading(self, request: int, node: str, tokens: int) -> None:
        """A node will read a request's hit tokens from storage."""
        self._table(node).read(request, node, tokens)

    def read_finished(self, request: int, node: str) -> None:
        """Nothing: the node's next report says so."""

    def read_queue(self, node: str) -> tuple[int, int]:
        """Tokens and requests of a node's read queue."""
        table = self._table(node)
        group = table.index[node]
        return int(table.read_tokens[group]), table.read_requests[group]

    def ended(self, request: int) -> None:
        """A placed request has ended, well or not.

        Raises:
            KeyError: it was never placed, or has ended before.
        """
        first, second = self._nodes.pop(request)
        self.prefill.ended(request, first)
        self.decode.ended(request, second)

    def adopt(self, ask: Ask, prefill: tuple[str, int], decode: tuple[str, int]) -> None:
        """A request was placed by a scheduler before this one: reports have it already."""
        self._nodes[ask.request] = (prefill[0], decode[0])

    def lose(self, node: str) -> None:
        """A node is lost: its requests wait for another one, before all others."""
        self._lost.add(node)
        self._table(node).lose(node)
        had = [request for request, pick in self._half.items() if pick.node == node]
        for request in had:
            del self._half[request]
        asks = [ask for request, ask in self._asks.items() if request in set(had)]
        if node in self.prefill.index:
            self._prefill_queue.return_(asks)
        else:
            self._decode_queues.lose(node, asks)

    @property
    def bereft(self) -> str:
        """The role that has no node left."""
        return bereft(self._lost, self.prefill.nodes, self.decode.nodes)

    def _table(self, node: str) -> EngineTable:
        return self.prefill if node in self.prefill.index else self.decode
