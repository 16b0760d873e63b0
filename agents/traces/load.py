"""From a trace's description to what agents replay.

A trace is either *closed*, an unending supply of sessions whose turns follow upon each other, or
*open*, requests that the clock releases whatever happened before.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import msgspec
import numpy as np

from agents.blocks.hashing import Hashes
from agents.traces.agentic import TRACES, agentic_trace
from agents.traces.mooncake import read_requests
from agents.traces.recorded import RecordedSessions
from agents.traces.session import BLOCK_TOKENS, Session, hit_blocks, hits, stored_before
from agents.traces.sessions_compact import read_compact
from agents.traces.thinned import Thinned
from agents.traces.weka import read_weka
from testbed.errors import ScenarioError

# Of a closed trace; the mean turn of so many sessions is known to about 1 %.
_SAMPLED_SESSIONS = 64


class TraceSpec(msgspec.Struct, frozen=True):
    """Which trace, and how it is read: plain data, for a process to be told.

    Args:
        kind: "agentic" is generated, the others are read from `file`.
        trace: of the generator: "32k", "48k" or "64k".
        file: of a recorded trace; of "weka" also a directory.
        seed: of everything random.
        max_context_tokens: sessions end before a turn that passes it; None for no end.
        append_scale, generation_scale: of the generator.
        time_factor: emulated seconds for each second of the trace's release times.
        skip_s: an open trace is played from this second of its own time on.
        length_s: and for so many emulated seconds; None to its end.
        think_factor: emulated seconds for each second of the trace's think times; 0 for none.
        think_s: of the generator: pause before every turn but the first, in emulated seconds.
        think_limit_s: longest think time, in emulated seconds; None for no limit.
        every: of the generator: only each so many-th turn is played.
    """

    kind: Literal["agentic", "mooncake", "sessions", "weka"]
    seed: int
    trace: str = "64k"
    file: str = ""
    max_context_tokens: int | None = None
    append_scale: float = 1.0
    generation_scale: float = 1.0
    time_factor: float = 1.0
    skip_s: float = 0.0
    length_s: float | None = None
    think_factor: float = 0.0
    think_limit_s: float | None = None
    think_s: float = 0.0
    every: int = 1


class SessionSource(Protocol):
    """An unending supply of sessions."""

    def session(self, number: int) -> Session:
        """Session `number`: a function of it alone."""


@dataclass(frozen=True)
class ClosedTrace:
    """Sessions for a closed loop: a turn follows the completion of the one before."""

    source: SessionSource


@dataclass(frozen=True)
class OpenTrace:
    """Sessions of one turn each, in the order of their release.

    Args:
        sessions: those that are played; the first is released at second 0 or later.
        prefixes: blocks of requests before them that they read, see `stored_before`.
    """

    sessions: Sequence[Session]
    prefixes: Sequence[Hashes]


class TurnMeans(NamedTuple):
    """The mean turn of a trace.

    Args:
        hit_tokens: found in storage, in whole blocks.
        prompt_tokens: of the whole prompt.
        generate_tokens: generated.
        think_s: pause before the turn, emulated.
        longest_tokens: the longest context, not a mean.
        session_turns: turns of a session.
    """

    hit_tokens: float
    prompt_tokens: float
    generate_tokens: float
    think_s: float
    longest_tokens: int
    session_turns: float = 1.0

    @property
    def miss_tokens(self) -> float:
        """Tokens of the prompt that are computed."""
        return self.prompt_tokens - self.hit_tokens


def load_trace(spec: TraceSpec) -> ClosedTrace | OpenTrace:
    """Open a trace.

    Raises:
        ScenarioError: the file, or a line of it, is wrong, or nothing of it can be played.
    """
    if spec.kind == "agentic":
        if spec.trace not in TRACES:
            raise ScenarioError(
                f"there is no generated trace {spec.trace!r}", hint=f"there are {', '.join(TRACES)}"
            )
        generated = agentic_trace(
            spec.trace,
            spec.seed,
            append_scale=spec.append_scale,
            generation_scale=spec.generation_scale,
            max_context_tokens=spec.max_context_tokens,
            think_s=spec.think_s,
        )
        return ClosedTrace(Thinned(generated, spec.every) if spec.every > 1 else generated)
    path = Path(spec.file)
    if spec.kind == "mooncake":
        return _slice(
            read_requests(
                path,
                max_context_tokens=spec.max_context_tokens,
                time_factor=spec.time_factor,
                origin_s=spec.skip_s,
            ),
            spec,
        )
    read = read_weka if spec.kind == "weka" else read_compact
    return ClosedTrace(
        RecordedSessions(
            read(path),
            spec.seed,
            source=spec.file,
            max_context_tokens=spec.max_context_tokens,
            think_factor=spec.think_factor,
            think_limit_s=spec.think_limit_s,
        )
    )


def _slice(sessions: Sequence[Session], spec: TraceSpec) -> OpenTrace:
    """The requests that are played, and what they find of those before them."""
    first = bisect_left(sessions, 0.0, key=_release_s)
    after = len(sessions)
    if spec.length_s is not None:
        after = bisect_left(sessions, spec.length_s, key=_release_s)
    played = sessions[first:after]
    if not played:
        raise ScenarioError(
            f"{spec.file} releases no request in the part that is played, from second "
            f"{spec.skip_s:g} on",
            hint="lower workload.skip, or raise workload.time_compression or duration",
        )
    everything = Session("", [session.turns[0] for session in sessions[:after]])
    return OpenTrace(played, stored_before(everything, first))


def _release_s(session: Session) -> float:
    release_s = session.turns[0].release_s
    assert release_s is not None  # read_requests gives every request one
    return release_s


def arrivals_per_s(trace: OpenTrace) -> float:
    """Requests per emulated second; infinite when all are released at once."""
    span_s = _release_s(trace.sessions[-1]) - _release_s(trace.sessions[0])
    return (len(trace.sessions) - 1) / span_s if span_s > 0 else math.inf


def closed_means(
    source: SessionSource, sessions: int = _SAMPLED_SESSIONS, *, whole_sessions: bool = False
) -> TurnMeans:
    """The mean turn of agents.

    Those of a closed loop's warm start each draw a session and then one of its turns, so a session
    counts once, however many turns it has.

    Args:
        sessions: looked at.
        whole_sessions: agents that arrive play every turn of a session: every turn counts once.
    """
    rows, counts = [], []
    longest = 0
    for number in range(sessions):
        session = source.session(number)
        turns = session.turns
        counts.append(len(turns))
        rows.append(
            (
                np.mean(hits(session)) * BLOCK_TOKENS,
                np.mean([turn.prompt_tokens for turn in turns]),
                np.mean([turn.generate_tokens for turn in turns]),
                np.mean([turn.think_s for turn in turns]),
            )
        )
        longest = max(longest, *(turn.context_tokens for turn in turns))
    weights = counts if whole_sessions else None
    hit, prompt, generate, think_s = np.average(rows, axis=0, weights=weights).tolist()
    return TurnMeans(hit, prompt, generate, think_s, longest, float(np.mean(counts)))


def open_means(trace: OpenTrace, *, warm: bool) -> TurnMeans:
    """The mean request of an open trace, when storage keeps everything.

    Args:
        warm: storage begins with the trace's prefixes.
    """
    stored: set[int] = set()
    if warm:
        stored.update(*(prefix.tolist() for prefix in trace.prefixes))
    count = hit = prompt = generate = longest = 0
    for session in trace.sessions:
        for turn in session.turns:
            count += 1
            hit += hit_blocks(turn, stored) * BLOCK_TOKENS
            prompt += turn.prompt_tokens
            generate += turn.generate_tokens
            longest = max(longest, turn.context_tokens)
            stored.update(turn.stored_hashes.tolist())
    return TurnMeans(hit / count, prompt / count, generate / count, 0.0, longest)
