"""Recorded agent sessions in a compact form: one multi-turn session a line.

    {"id", "block_size": 64, "turns": [{"t": start s, "in": prompt tokens, "out": generated tokens,
     "hit": leading tokens seen earlier in the session, "api": s or null, "think": s or null,
     "h": [[first block id, count], …]}]}

`h` names the full blocks of the prompt, run-length coded; ids are local to a session.  Contexts
may shrink and branch.  Prefix matching gives exactly the recorded `hit`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec

from agents.traces.lines import read_lines
from agents.traces.recorded import (
    RecordedSession,
    RecordedTurn,
    check_block_size,
    check_blocks,
    think_s,
)
from testbed.errors import ScenarioError

_Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]


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


def read_compact(path: Path) -> Iterator[RecordedSession]:
    """The sessions of a file, plain or gzip.

    Raises:
        ScenarioError: a line is wrong.
    """
    for place, session in read_lines(path, _Session):
        check_block_size(place, session.block_size)
        if not session.turns:
            raise ScenarioError(f"{place}: session {session.id!r} has no turns", hint="remove it")
        yield RecordedSession(session.id, list(_turns(place, session.turns)))


def _turns(place: str, turns: list[_Turn]) -> Iterator[RecordedTurn]:
    before: _Turn | None = None
    for number, turn in enumerate(turns, start=1):
        check_blocks(place, number, turn.prompt, sum(count for _, count in turn.h))
        pause_s = 0.0 if before is None else think_s(turn.think, turn.t - before.t, before.api)
        yield RecordedTurn(turn.prompt, turn.out, turn.h, pause_s)
        before = turn
