"""Which decode engine serves a request (DualPath, section 6.1): a group first, then an engine.

Phase 1, at every fetch: the global queue is drained, each request into the private queue of the
group with the least sum of tok_e.  What waits in a private queue counts as its group's: the text
does not say so, but without it all requests of one drain would go to the same group.

Phase 2, for the group that fetches: R is the longest prefix of its private queue that fits its
free HBM, and Z = 1.05 (sum of len over R + sum of tok_e) / |E|.  Heads are popped one by one:
of the engines with enough free HBM, those that stay within Z with the request, and of them that
with the least seq_e; if there is none, of the others that with the least tok_e; if no engine has
the HBM, the request waits, and all behind it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from agents.scheduler.state import Ask, EngineTable, Pick, TieBreak

HEADROOM = 1.05
"""Of Z over the mean: how uneven engines may become before the fuller ones are passed over."""

_NEVER = np.iinfo(np.int64).max


class DecodeQueues:
    """Requests that wait for a decode engine.

    Args:
        table: of the decode engines.
        ties: among equal groups, and among equal engines.
    """

    def __init__(self, table: EngineTable, *, ties: TieBreak) -> None:
        self._table = table
        self._ties = ties
        self._global: deque[Ask] = deque()
        self._private: list[deque[Ask]] = [deque() for _ in table.nodes]
        self._private_tokens: NDArray[np.int64] = np.zeros(len(table.nodes), np.int64)

    def __len__(self) -> int:
        return len(self._global) + sum(map(len, self._private))

    def submit(self, ask: Ask) -> None:
        """A request joins the end of the global queue."""
        self._global.append(ask)

    def lose(self, node: str, asks: Sequence[Ask]) -> None:
        """A group is lost: who waits for it is first in the global queue again.

        Args:
            asks: requests that had an engine of it, in their order.
        """
        group = self._table.index[node]
        waiting = self._private[group]
        self._global.extendleft(reversed([*asks, *waiting]))
        waiting.clear()
        self._private_tokens[group] = 0

    def fetch(self, node: str) -> list[Pick]:
        """A group has reported: divide what is new among all groups, and fill this one."""
        self._spread()
        return self._place(self._table.index[node])

    def _spread(self) -> None:
        """Phase 1."""
        table = self._table
        if not self._global or not table.known.any():
            return
        sums = table.tokens.sum(axis=1) + self._private_tokens
        sums[~table.known] = _NEVER
        while self._global:
            ask = self._global.popleft()
            group = int(sums.argmin())
            if self._ties.seeded:
                group = self._ties.choose(ask.request, np.flatnonzero(sums == sums[group]))
            self._private[group].append(ask)
            self._private_tokens[group] += ask.tokens
            sums[group] += ask.tokens

    def _place(self, group: int) -> list[Pick]:
        """Phase 2."""
        table, queue = self._table, self._private[group]
        if not queue:
            return []
        free: list[int] = table.free_bytes[group].tolist()
        tokens: list[int] = table.tokens[group].tolist()
        requests: list[int] = table.requests[group].tolist()
        # What R loses at a pop, tok_e gains: Z is the same for all of them.
        limit = HEADROOM * (_fitting_tokens(queue, sum(free)) + sum(tokens)) / table.rails
        picks = []
        while queue:
            ask = queue[0]
            able = [rail for rail, room in enumerate(free) if room >= ask.hbm_bytes]
            if not able:
                break
            low = [rail for rail in able if tokens[rail] + ask.tokens <= limit]
            key = requests if low else tokens
            among = low or able
            least = min(key[rail] for rail in among)
            rail = self._ties.choose(ask.request, [r for r in among if key[r] == least])
            queue.popleft()
            self._private_tokens[group] -= ask.tokens
            table.assign(ask.request, group, rail, ask.tokens, ask.hbm_bytes)
            free[rail] -= ask.hbm_bytes
            tokens[rail] += ask.tokens
            requests[rail] += 1
            picks.append(Pick(ask.request, table.nodes[group], rail))
        return picks


def _fitting_tokens(queue: deque[Ask], free_bytes: int) -> int:
    """Tokens of R, the longest prefix whose HBM is free in the group as a whole."""
    room = free_bytes

    def fits(ask: Ask) -> bool:
        nonlocal room
        room -= ask.hbm_bytes
        return room >= 0

    return sum(ask.tokens for ask in takewhile(fits, queue))
