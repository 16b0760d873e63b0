"""WEKA's native session files: one JSON object a session, one file for each.

    {"id", "block_size": 64, "tool_tokens", "system_tokens", "requests": [request, …]}
    request: {"t": start s, "type": "n" or "s", "in": prompt tokens, "out": generated tokens,
              "hash_ids": [id of each full block of the prompt], "api_time": s, "think_time": s}
    or: {"type": "subagent", "t", "duration_ms", "requests": [request, …]}

`hash_ids` are local to the session, sub-agents included.  `tool_tokens` and `system_tokens` say
what the beginning of a context is made of; its blocks are named like all others.

A session here is one sequence of turns, so a sub-agent's requests are played where it stands in
the file, one sub-agent after another, where the recorded ones ran at once: each block is hit as
often, but fewer requests of a session are under way.  The agent's pause then includes the
wait for its sub-agents, so their time is taken off it.

Source: callanjfox/kv-cache-tester, docs/trace_replay_tester.md and traces/.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

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
_HINT = "a session file of WEKA's form is expected: see agents.traces.weka"


class _Request(msgspec.Struct, frozen=True):
    type: Literal["n", "s", "subagent"]
    t: float
    prompt: _Count = msgspec.field(name="in", default=0)
    out: _Count = 0
    hash_ids: list[_Count] = []
    api_time: float | None = None
    think_time: float | None = None
    duration_ms: float | None = None
    requests: list[_Request] = []


class _Session(msgspec.Struct, frozen=True):
    id: str
    block_size: int
    requests: list[_Request]
    hash_id_scope: str = "local"


def read_weka(path: Path) -> Iterator[RecordedSession]:
    """The sessions of a directory of files, of one file, or of JSON lines.

    Args:
        path: a directory with *.json, in the order of their names; one such file; or *.jsonl,
            plain or gzip, with a session a line.

    Raises:
        ScenarioError: nothing is there, or a session is wrong.
    """
    for place, session in _sessions(path):
        check_block_size(place, session.block_size)
        if session.hash_id_scope != "local":
            raise ScenarioError(
                f"{place}: the scope of hash ids is {session.hash_id_scope!r}",
                hint="ids must be local to a session: convert the trace",
            )
        turns = list(_turns(place, session.requests))
        if not turns:
            raise ScenarioError(f"{place}: session {session.id!r} has no turns", hint="remove it")
        yield RecordedSession(session.id, turns)


def _sessions(path: Path) -> Iterator[tuple[str, _Session]]:
    if path.suffix in (".jsonl", ".gz"):
        yield from read_lines(path, _Session)
        return
    decoder = msgspec.json.Decoder(_Session)
    for file in _files(path):
        try:
            yield str(file), decoder.decode(file.read_bytes())
        except OSError as error:
            raise ScenarioError(
                f"the trace {file} cannot be read: {error.strerror}",
                hint="give the path of a session file, or of a directory of them",
            ) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ScenarioError(f"{file}: {error}", hint=_HINT) from None


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(path.glob("*.json"))
    if not files:
        raise ScenarioError(f"there is no *.json in {path}", hint=_HINT)
    return files


def _turns(place: str, requests: list[_Request]) -> Iterator[RecordedTurn]:
    """The requests of an agent and, where they stand, of its sub-agents.

    The answer that a pause is counted from is the agent's own, not a sub-agent's.
    """
    number = 0

    def of(agent: list[_Request]) -> Iterator[RecordedTurn]:
        nonlocal number
        before: _Request | None = None
        others_s = 0.0
        for request in agent:
            if request.type == "subagent":
                yield from of(request.requests)
                others_s += _span_s(request)
                continue
            number += 1
            if request.prompt < 1:
                raise ScenarioError(f"{place}: turn {number} has no prompt", hint=_HINT)
            check_blocks(place, number, request.prompt, len(request.hash_ids))
            pause_s = 0.0
            if before is not None:
                since_s = request.t - before.t
                recorded_s = think_s(request.think_time, since_s, before.api_time)
                pause_s = max(0.0, recorded_s - others_s)
            yield RecordedTurn(request.prompt, request.out, _runs(request.hash_ids), pause_s)
            before, others_s = request, 0.0

    return of(requests)


def _span_s(subagent: _Request) -> float:
    """How long a sub-agent ran."""
    if subagent.duration_ms is not None:
        return subagent.duration_ms / 1000
    if not subagent.requests:
        return 0.0
    last = subagent.requests[-1]
    return last.t - subagent.requests[0].t + (last.api_time or 0.0)


def _runs(ids: list[int]) -> list[tuple[int, int]]:
    """Ids as (first, count)."""
    runs: list[tuple[int, int]] = []
    for number in ids:
        if runs and number == sum(runs[-1]):
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((number, 1))
    return runs
