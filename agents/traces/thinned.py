"""Sessions of which only each k-th turn is played, each with the length that it has.

A whole trajectory of 157 turns takes hours; every eighth turn of it samples contexts, appends and
generations alike.  What the turns between would have stored has to be there, and what a played turn
appends must not: in one stream of blocks the context of a later turn would bring it along.  So each
played turn is of a stream of its own, and its context lies in storage from the beginning.
"""

from __future__ import annotations

from typing import Protocol

from agents.blocks.hashing import Hashes, stream_hashes, stream_id
from agents.traces.session import BLOCK_TOKENS, Session, Turn


class _Source(Protocol):
    def session(self, number: int) -> Session:
        """Session `number`, append-only."""


class Thinned:
    """An unending supply of thinned trajectories.

    Args:
        source: of whole ones, whose contexts only grow.
        every: k.  Trajectory number n begins with its turn n modulo k, so that of k trajectories
            one plays its opening turn, which is long and finds nothing.  Of one of fewer turns the
            last is played.
    """

    def __init__(self, source: _Source, every: int) -> None:
        self._source = source
        self._every = every

    def session(self, number: int) -> Session:
        """Thinned trajectory `number`."""
        whole = self._source.session(number)
        assert whole.append_only
        first = min(number % self._every, len(whole.turns) - 1)
        turns: list[Turn] = []
        found: list[Hashes] = []
        for index in range(first, len(whole.turns), self._every):
            turn = whole.turns[index]
            hashes = stream_hashes(stream_id(f"{whole.id}/{index}"), len(turn.hashes))
            turns.append(
                Turn(
                    turn.prompt_tokens,
                    turn.generate_tokens,
                    hashes,
                    think_s=turn.think_s if turns else 0.0,
                )
            )
            context = whole.turns[index - 1].context_tokens if index else 0
            if stored := context // BLOCK_TOKENS:
                found.append(hashes[:stored])
        return Session(whole.id, turns, found=found)
