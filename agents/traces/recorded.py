"""Recorded agent sessions: one form for all files that hold some, and an unending supply of them.

A reader (`sessions_compact`, `weka`) turns a file into `RecordedSession`s; `RecordedSessions` plays
them.  Block ids are local to a session, and name the full blocks of each prompt.  Recorders
count only prompts as seen: what is generated appears in the next prompt under ids of that
prompt, so generated blocks get hashes of their own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from agents.blocks.hashing import Hashes, mix, stream_id
from agents.traces.session import BLOCK_TOKENS, Session, Turn
from testbed.errors import ScenarioError

# Hash input: bit 63 set for generated blocks, then turn and block; clear for the trace's ids.
_GENERATED = 1 << 63


@dataclass(frozen=True, slots=True)
class RecordedTurn:
    """One request as it was recorded.

    Args:
        prompt_tokens: of the whole prompt.
        generate_tokens: 0 where nothing was generated.
        blocks: ids of the prompt's full blocks, as (first id, count).
        think_s: pause between the answer before and this request.
    """

    prompt_tokens: int
    generate_tokens: int
    blocks: list[tuple[int, int]]
    think_s: float


class RecordedSession(NamedTuple):
    """The requests of one agent, in their order."""

    id: str
    turns: list[RecordedTurn]


class RecordedSessions:
    """An unending supply of recorded sessions.

    Each pass over them takes them in another seeded order and under other hashes: a session
    that comes again is another agent's, and shares no KV with its first coming.

    Args:
        recorded: in the order of the file.
        seed: of the order.
        source: of the sessions, for messages.
        max_context_tokens: a session ends before the turn that passes it; one whose first turn
            does is left out.
        think_factor: multiplies the recorded think times; 0 plays without.
        think_limit_s: longest think time after that; None for no limit.

    Raises:
        ScenarioError: no session is short enough.
    """

    def __init__(
        self,
        recorded: Iterable[RecordedSession],
        seed: int,
        *,
        source: str,
        max_context_tokens: int | None = None,
        think_factor: float = 0.0,
        think_limit_s: float | None = None,
    ) -> None:
        self._seed = seed
        self._think_factor = think_factor
        self._think_limit_s = math.inf if think_limit_s is None else think_limit_s
        self._sessions: list[RecordedSession] = []
        self.turns_cut = 0
        for session in recorded:
            kept = _turns_within(session, max_context_tokens)
            self.turns_cut += len(session.turns) - kept
            if kept:
                self._sessions.append(RecordedSession(session.id, session.turns[:kept]))
        if not self._sessions:
            raise ScenarioError(
                f"every session of {source} begins with more than {max_context_tokens} tokens",
                hint="raise workload.max_context, or leave it out",
            )

    def __len__(self) -> int:
        """Sessions in one pass."""
        return len(self._sessions)

    def session(self, number: int) -> Session:
        """Session `number`: a function of it and the seed alone."""
        lap, recorded = self._recorded(number)
        identity = f"{recorded.id}-{lap}"
        stream = stream_id(identity)
        return Session(identity, tuple(self._turns(recorded, stream)))

    def _recorded(self, number: int) -> tuple[int, RecordedSession]:
        """The pass over the file that session `number` belongs to, and the session."""
        lap, index = divmod(number, len(self._sessions))
        order = np.random.default_rng((self._seed, lap)).permutation(len(self._sessions))
        return lap, self._sessions[order[index]]

    def _turns(self, session: RecordedSession, stream: int) -> Iterator[Turn]:
        for number, turn in enumerate(session.turns):
            generate = max(1, turn.generate_tokens)
            ids = [np.arange(first, first + count, dtype=np.uint64) for first, count in turn.blocks]
            prompt_hashes = mix(stream, np.concatenate([np.empty(0, np.uint64), *ids]))
            generated_hashes = _generated(stream, number, turn.prompt_tokens, generate)
            hashes = np.concatenate([prompt_hashes, generated_hashes])
            think_s = min(turn.think_s * self._think_factor, self._think_limit_s)
            yield Turn(turn.prompt_tokens, generate, hashes, think_s=think_s)


def think_s(recorded_s: float | None, since_start_s: float, answered_in_s: float | None) -> float:
    """The pause before a turn: as recorded, else what the start times leave of it.

    Args:
        recorded_s: think time, if it was recorded.
        since_start_s: from the start of the turn before.
        answered_in_s: how long that took; None if not recorded.
    """
    if recorded_s is not None:
        return max(0.0, recorded_s)
    return max(0.0, since_start_s - (answered_in_s or 0.0))


def check_blocks(place: str, number: int, prompt_tokens: int, blocks: int) -> None:
    """A turn names every full block of its prompt, and no other.

    Args:
        place: of the session, for the message.
        number: of the turn, from 1.

    Raises:
        ScenarioError: it does not.
    """
    if blocks != prompt_tokens // BLOCK_TOKENS:
        raise ScenarioError(
            f"{place}: turn {number} names {blocks} blocks for {prompt_tokens} tokens",
            hint="every full block of the prompt must have an id, and nothing else",
        )


def check_block_size(place: str, block_size: int) -> None:
    """Blocks have the size that all traces have here.

    Raises:
        ScenarioError: they have another.
    """
    if block_size != BLOCK_TOKENS:
        raise ScenarioError(
            f"{place}: blocks of {block_size} tokens",
            hint=f"convert the trace to blocks of {BLOCK_TOKENS} tokens",
        )


def _turns_within(session: RecordedSession, max_context_tokens: int | None) -> int:
    """Leading turns whose context stays within the limit."""
    if max_context_tokens is None:
        return len(session.turns)
    for index, turn in enumerate(session.turns):
        if turn.prompt_tokens + max(1, turn.generate_tokens) > max_context_tokens:
            return index
    return len(session.turns)


def _generated(stream: int, number: int, prompt: int, generate: int) -> Hashes:
    """Hashes of the blocks that the prompt does not fill."""
    count = -(-(prompt + generate) // BLOCK_TOKENS) - prompt // BLOCK_TOKENS
    first = _GENERATED | number << 32
    return mix(stream, np.arange(first, first + count, dtype=np.uint64))
