"""Recorded agent sessions in a compact form: one multi-turn session a line.

    {"id", "block_size": 64, "turns": [{"t": start s, "in": prompt tokens, "out": generated tokens,
     "hit": leading tokens seen earlier in the session, "api": s or null, "think": s or null,
     "h": [[first block id, count], …]}]}

`h` names the full blocks of the prompt, run-length coded; ids are local to a session.  Contexts
may shrink and branch.  The recorder counted only prompts as seen: what is generated appears in the
next prompt under ids of that prompt, so generated blocks get hashes of their own, and
prefix matching gives exactly the recorded `hit`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from agents.blocks.hashing import Hashes, mix, stream_id
from agents.traces.lines import read_lines
from agents.traces.session import BLOCK_TOKENS, Session, Turn
from testbed.errors import ScenarioError

_Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]
# Hash input: bit 63 set for generated blocks, then turn and block; clear for the trace's ids.
_GENERATED = 1 << 63


class _Turn(msgspec.Struct, frozen=True):
    t: float
    prompt: Annotated[int, msgspec.Meta(ge=1, lt=1 << 31)] = msgspec.field(name="in")
    out: _Count
    hit: _Count
    h: list[tuple[_Count, _Count]]
    api: float | None = None
    think: float | None = None


class _Session(msgspec.Struct, frozen=True):
    id: str
    block_size: int
    turns: list[_Turn]


class RecordedSessions:
    """An unending supply of recorded sessions.

    Each pass over the file takes them in another seeded order and under other hashes: a session
    that comes again is another agent's, and shares no KV with its first coming.

    Args:
        path: the trace, plain or gzip.
        seed: of the order.
        max_context_tokens: a session ends before the turn that passes it; one whose first turn
            does is left out.
        think_factor: multiplies the recorded think times; 0 plays without.
        think_limit_s: longest think time after that; None for no limit.

    Raises:
        ScenarioError: a line is wrong, or no session is short enough.
    """

    def __init__(
        self,
        path: Path,
        seed: int,
        *,
        max_context_tokens: int | None = None,
        think_factor: float = 0.0,
        think_limit_s: float | None = None,
    ) -> None:
        self._seed = seed
        self._think_factor = think_factor
        self._think_limit_s = math.inf if think_limit_s is None else think_limit_s
        self._sessions: list[_Session] = []
        self.turns_cut = 0
        for place, session in read_lines(path, _Session):
            _check(place, session)
            kept = _turns_within(session, max_context_tokens)
            self.turns_cut += len(session.turns) - kept
            if kept:
                self._sessions.append(_Session(session.id, BLOCK_TOKENS, session.turns[:kept]))
        if not self._sessions:
            raise ScenarioError(
                f"every session of {path} begins with more than {max_context_tokens} tokens",
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

    def recorded_hits(self, number: int) -> list[int]:
        """The hit tokens that the recorder saw in session `number`, turn by turn."""
        return [turn.hit for turn in self._recorded(number)[1].turns]

    def _recorded(self, number: int) -> tuple[int, _Session]:
        """The pass over the file that session `number` belongs to, and the session."""
        lap, index = divmod(number, len(self._sessions))
        order = np.random.default_rng((self._seed, lap)).permutation(len(self._sessions))
        return lap, self._sessions[order[index]]

    def _turns(self, session: _Session, stream: int) -> Iterator[Turn]:
        before: _Turn | None = None
        for number, turn in enumerate(session.turns):
            generate = max(1, turn.out)
            ids = [np.arange(first, first + count, dtype=np.uint64) for first, count in turn.h]
            prompt_hashes = mix(stream, np.concatenate([np.empty(0, np.uint64), *ids]))
            generated_hashes = _generated(stream, number, turn.prompt, generate)
            hashes = np.concatenate([prompt_hashes, generated_hashes])
            think_s = min(_think_s(before, turn) * self._think_factor, self._think_limit_s)
            yield Turn(turn.prompt, generate, hashes, think_s=think_s)
            before = turn


def _turns_within(session: _Session, max_context_tokens: int | None) -> int:
    """Leading turns whose context stays within the limit."""
    if max_context_tokens is None:
        return len(session.turns)
    for index, turn in enumerate(session.turns):
        if turn.prompt + max(1, turn.out) > max_context_tokens:
            return index
    return len(session.turns)


def _check(place: str, session: _Session) -> None:
    if session.block_size != BLOCK_TOKENS:
        raise ScenarioError(
            f"{place}: blocks of {session.block_size} tokens",
            hint=f"convert the trace to blocks of {BLOCK_TOKENS} tokens",
        )
    if not session.turns:
        raise ScenarioError(f"{place}: session {session.id!r} has no turns", hint="remove it")
    for number, turn in enumerate(session.turns, start=1):
        blocks = sum(count for _, count in turn.h)
        if blocks != turn.prompt // BLOCK_TOKENS:
            raise ScenarioError(
                f"{place}: turn {number} names {blocks} blocks for {turn.prompt} tokens",
                hint="`h` must name every full block of the prompt, and no other",
            )


def _generated(stream: int, number: int, prompt: int, generate: int) -> Hashes:
    """Hashes of the blocks that the prompt does not fill."""
    count = -(-(prompt + generate) // BLOCK_TOKENS) - prompt // BLOCK_TOKENS
    first = _GENERATED | number << 32
    return mix(stream, np.arange(first, first + count, dtype=np.uint64))


def _think_s(before: _Turn | None, turn: _Turn) -> float:
    """The pause before a turn: as recorded, else what the start times leave of it."""
    if before is None:
        return 0.0
    if turn.think is not None:
        return max(0.0, turn.think)
    return max(0.0, turn.t - before.t - (before.api or 0.0))
