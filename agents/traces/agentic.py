"""Synthetic agent trajectories with the statistics of DualPath's three traces (its section 7).

Each trace is known by five means: turns, tokens appended and generated per turn, total tokens,
and context that a turn finds.  The total is the length of the final context: contexts only
grow, and end before the length that names the trace.  With 157 turns of 429 + 176 tokens the
64K trace would then total 94 985 tokens, not 55 958, if these were means over all turns; so
they are read as **means over trajectories**, the per-turn columns of each trajectory's own
mean.  Trajectories differ in how many tokens a turn adds: those of short turns have many.

That fixes the distributions, of which the table determines every parameter:

* the total T is uniform, symmetric about its mean, and ends at the maximum;
* the tokens per turn s are log-uniform, with E[s] from the table, independent of T; the turns
  are n = T/s.  E[n] = E[T]·E[1/s] then gives the half-width h of log s:
  (sinh h / h)² = E[n]·E[s] / E[T];
* a fixed share of a trajectory's tokens is generated: generated / (appended + generated);
* growth is linear after an opening prompt (instructions, tools, the task), whose length
  is what brings the mean context to the table's: (2·context/total - 1)·T and a term in 1/n;
* within a trajectory the lengths of turns vary like gamma variates of shape 2.

Means over all turns, rather than over trajectories, weigh trajectories by their turns and so
show shorter turns (and 99.1 % of hits at 64K): so do sessions that arrive and are played whole, and
a closed loop after some two hundred turns of each agent.  An agent of a warm start draws a
trajectory and then a turn of it: it sees the table (98.7 % of tokens are hits at 64K, as published,
and 98.6 % in whole blocks).

Trajectories are drawn quasi-randomly: the first few dozen already have the population's means.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agents.blocks.hashing import stream_hashes, stream_id
from agents.traces.session import BLOCK_TOKENS, Session, Turn
from testbed.errors import ScenarioError

_GAMMA_SHAPE = 2.0
# Additive recurrences of low discrepancy; the golden ratio, the best of them, for the turns'
# length, on which more depends.
_STEPS = np.array([(math.sqrt(5) - 1) / 2, math.sqrt(2) - 1])


@dataclass(frozen=True)
class AgentTrace:
    """The published means of one trace (DualPath, section 7, workload table).

    Args:
        max_tokens: no context grows longer.
        turns: of a trajectory.
        append_tokens, generate_tokens: per turn.
        total_tokens: the final context.
        context_tokens: what a turn finds before it appends.
    """

    max_tokens: int
    turns: float
    append_tokens: float
    generate_tokens: float
    total_tokens: float
    context_tokens: float

    @property
    def turn_tokens(self) -> float:
        """Tokens that a turn adds."""
        return self.append_tokens + self.generate_tokens


TRACES: dict[str, AgentTrace] = {
    "32k": AgentTrace(32 * 1024, 60, 608, 148, 28_639, 17_183),
    "48k": AgentTrace(48 * 1024, 106, 474, 172, 42_607, 25_120),
    "64k": AgentTrace(64 * 1024, 157, 429, 176, 55_958, 32_721),
}


class AgenticTrace:
    """An unending supply of trajectories; the same seed gives the same ones.

    Args:
        trace: the means to reproduce.
        seed: of everything random.
        append_scale, generation_scale: multiply every appended or generated length
            (DualPath, figure 9).
        max_context_tokens: trajectories end before a turn that would pass it; None for no end.
        think_s: pause before every turn but the first.
        name: goes into the sessions' identities.

    Raises:
        ValueError: a scale is not positive.
    """

    def __init__(
        self,
        trace: AgentTrace,
        seed: int,
        *,
        append_scale: float = 1.0,
        generation_scale: float = 1.0,
        max_context_tokens: int | None = None,
        think_s: float = 0.0,
        name: str = "agentic",
    ) -> None:
        if not (append_scale > 0 and generation_scale > 0):
            raise ValueError(f"scales of {append_scale:g} and {generation_scale:g}")
        self._trace = trace
        self._seed = seed
        self._append_scale = append_scale
        self._generation_scale = generation_scale
        self._max_context_tokens = max_context_tokens
        self._think_s = think_s
        self._name = name
        self._start = np.random.default_rng((seed, 0)).random(2)
        ratio = trace.turns * trace.turn_tokens / trace.total_tokens
        self._half_width = _inverse(lambda h: (math.sinh(h) / h) ** 2, ratio)

    def session(self, number: int) -> Session:
        """Trajectory `number`: a function of it and the seed alone.

        Raises:
            ScenarioError: not even its first turn is short enough.
        """
        u_turn, u_total = (self._start + (number + 1) * _STEPS) % 1.0
        rng = np.random.default_rng((self._seed, 1, number))
        appended, generated = self._lengths(float(u_turn), float(u_total), rng)
        contexts = np.cumsum(appended + generated)
        limit = self._max_context_tokens
        if limit is not None:
            kept = int(np.searchsorted(contexts, limit, side="right"))
            if kept == 0:
                raise ScenarioError(
                    f"a generated agent opens with {contexts[0]} tokens, and the longest context "
                    f"has {limit}",
                    hint="raise workload.max_context, where the model's own is not less; or choose "
                    "a shorter workload.trace, or lower workload.append_scale",
                )
            appended, generated, contexts = appended[:kept], generated[:kept], contexts[:kept]
        identity = f"{self._name}-{self._seed}-{number}"
        blocks = -(-int(contexts[-1]) // BLOCK_TOKENS)
        hashes = stream_hashes(stream_id(identity), blocks)
        turns = [
            Turn(
                after - generate,
                generate,
                hashes[: -(-after // BLOCK_TOKENS)],
                think_s=self._think_s if index else 0.0,
            )
            for index, (after, generate) in enumerate(
                zip(contexts.tolist(), generated.tolist(), strict=True)
            )
        ]
        return Session(identity, turns, append_only=True)

    def _lengths(
        self, u_turn: float, u_total: float, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Tokens appended and generated at each turn of the trajectory at these quantiles."""
        trace, h = self._trace, self._half_width
        total = trace.total_tokens + (2 * u_total - 1) * (trace.max_tokens - trace.total_tokens)
        # E[s] of a log-uniform on [c/e^h, c·e^h] is c·sinh(h)/h.
        turn_tokens = trace.turn_tokens * h / math.sinh(h) * math.exp(h * (2 * u_turn - 1))
        turns = max(2, round(total / turn_tokens))
        share = trace.append_tokens / trace.turn_tokens
        opening = 2 * trace.context_tokens / trace.total_tokens - 1 + (1 + share) / turns
        appended = np.empty(turns)
        appended[0] = min(opening, share) * total
        appended[1:] = _shares(turns - 1, rng) * (share * total - appended[0])
        generated = _shares(turns, rng) * (1 - share) * total
        return (
            _whole(appended * self._append_scale),
            _whole(generated * self._generation_scale),
        )


def agentic_trace(
    name: str,
    seed: int,
    *,
    append_scale: float = 1.0,
    generation_scale: float = 1.0,
    max_context_tokens: int | None = None,
    think_s: float = 0.0,
) -> AgenticTrace:
    """The generator of a published trace: "32k", "48k" or "64k".

    Raises:
        KeyError: there is no trace of that name.
    """
    return AgenticTrace(
        TRACES[name],
        seed,
        append_scale=append_scale,
        generation_scale=generation_scale,
        max_context_tokens=max_context_tokens,
        think_s=think_s,
        name=name,
    )


def _shares(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Random parts of one whole."""
    weights = rng.gamma(_GAMMA_SHAPE, size=count)
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


def _whole(lengths: NDArray[np.float64]) -> NDArray[np.int64]:
    """Lengths as whole tokens, at least one each, whose sums stay what they were."""
    edges = np.rint(np.concatenate(([0.0], np.cumsum(lengths))))
    return np.maximum(1, np.diff(edges)).astype(np.int64)


def _inverse(function: Callable[[float], float], value: float) -> float:
    """Where an increasing function takes a value: bisection on (0, 10]."""
    low, high = 1e-6, 10.0
    for _ in range(80):
        middle = (low + high) / 2
        if function(middle) < value:
            low = middle
        else:
            high = middle
    return (low + high) / 2
