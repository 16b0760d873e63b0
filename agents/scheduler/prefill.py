"""Which prefill engine serves a request (DualPath, section 6.1).

One FIFO.  Engines are in three classes:

    C1  tok_e > beta                        never assigned
    C2  tok_e <= beta and read_q <= alpha   their node's storage NIC may run dry: first
    C3  tok_e <= beta and read_q >  alpha

The head goes to the engine of C2 with the least tok_e, else to that of C3, else it waits.  tok_e
grows with each pick.  A prompt longer than beta still finds an idle engine.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Literal

import numpy as np

from agents.scheduler.state import Ask, EngineTable, Pick, TieBreak

Scope = Literal["cluster", "group"]

# Classes are ranges of one rank, so that its least element is the pick.
_SECOND_CLASS = 1 << 60
_NEVER = (1 << 62) - 1


class PrefillQueue:
    """Requests that wait for a prefill engine.

    Args:
        table: of the prefill engines.
        alpha_tokens, beta_tokens: limits of read_q and tok_e.
        ties: among engines of equal tok_e in one class.
        scope: engines that a fetch fills: those of all groups that have reported, or only those
            of the group that fetches.  In the latter case alpha decides nothing, as the engines
            of a node have one read queue.
    """

    def __init__(
        self,
        table: EngineTable,
        *,
        alpha_tokens: int,
        beta_tokens: int,
        ties: TieBreak,
        scope: Scope = "cluster",
    ) -> None:
        self._table = table
        self._alpha, self._beta = alpha_tokens, beta_tokens
        self._ties = ties
        self._whole_cluster = scope == "cluster"
        self._waiting: deque[Ask] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def submit(self, ask: Ask) -> None:
        """A request joins the end of the queue."""
        self._waiting.append(ask)

    def return_(self, asks: Sequence[Ask]) -> None:
        """Requests whose engine was lost are first again, in their order."""
        self._waiting.extendleft(reversed(asks))

    def fetch(self, node: str) -> list[Pick]:
        """A group has reported: place as many requests as the rules allow, in their order."""
        if not self._waiting:
            return []
        table = self._table
        first = 0 if self._whole_cluster else table.index[node]
        rows = slice(first, len(table.nodes) if self._whole_cluster else first + 1)
        tokens = table.tokens[rows]
        second = (table.read_tokens[rows] > self._alpha)[:, None]
        never = (tokens > self._beta) | ~table.known[rows][:, None]
        rank = np.where(never, _NEVER, np.where(second, tokens + _SECOND_CLASS, tokens)).ravel()
        picks = []
        while self._waiting:
            best = int(rank.argmin())
            if rank[best] == _NEVER:
                break
            ask = self._waiting.popleft()
            if self._ties.seeded:
                best = self._ties.choose(ask.request, np.flatnonzero(rank == rank[best]))
            group, rail = divmod(best, table.rails)
            group += first
            table.assign(ask.request, group, rail, ask.prompt_tokens)
            rank[best] += ask.prompt_tokens
            if table.tokens[group, rail] > self._beta:
                rank[best] = _NEVER
            picks.append(Pick(ask.request, table.nodes[group], rail))
        return picks
