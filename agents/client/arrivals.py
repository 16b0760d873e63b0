"""Sessions that arrive in the open: how many there are depends on how fast they are served.

As in DualPath's online experiments (section 7): agents arrive by a Poisson process, each plays one
session with its pauses, and leaves.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence

import numpy as np

from agents.client.playing import PlayingAgent, PlayingAgents, Start, Submission
from agents.traces.load import ClosedTrace
from agents.traces.session import Session, stored_before

# Sessions that could be in flight at the start, for each that is.
_CANDIDATES = 4
_LEAST_CANDIDATES = 64
_GOLDEN_RATIO = (math.sqrt(5) - 1) / 2


class PoissonArrivals(PlayingAgents):
    """Agents that arrive by a seeded Poisson process, play one session each, and leave.

    A warm start begins in the middle: agents are in flight already, at turns evenly spread over
    their sessions, with their prefixes in storage.  A session is in flight the more likely the
    longer it lasts, so they are drawn in proportion to their expected durations; new arrivals play
    sessions that were not among those drawn from.  A cold start begins with nobody.

    What arrives, when, and under which request numbers depends on the seed alone.

    Args:
        trace: where sessions come from.
        per_s: mean arrivals per second of the driver's clock.
        in_flight: agents at a warm start.
        turn_s: expected time of a turn, pauses apart: durations are foreseen with it.
        seed: of arrivals, and of who is where at the start.
        start: "warm" or "cold".

    Raises:
        ValueError: the rate is not positive.
    """

    def __init__(
        self,
        trace: ClosedTrace,
        per_s: float,
        in_flight: int,
        turn_s: float,
        seed: int,
        start: Start = "warm",
    ) -> None:
        super().__init__()
        if not per_s > 0:
            raise ValueError(f"{per_s:g} arrivals per second")
        self._source = trace.source
        self._mean_gap_s = 1 / per_s
        self._rng = np.random.default_rng((seed, 3))
        self._next_arrival_s = math.inf  # until the run begins
        self._next_agent = self._next_request = self._next_session = 0
        if start == "warm":
            self._put_in_flight(in_flight, turn_s)

    def start(self, now_s: float) -> None:
        """Those in flight have thought for a part of their pause; arrivals begin."""
        for number, agent in self._agents.items():
            agent.start_s = now_s
            pause_s = agent.session.turns[agent.next_turn].think_s
            heapq.heappush(self._ready, (now_s + pause_s * self._rng.random(), number))
        self._next_arrival_s = now_s + self._rng.exponential(self._mean_gap_s)

    def due(self, now_s: float) -> list[Submission]:
        """First turns of those who have arrived, and turns whose agents have thought enough."""
        while self._next_arrival_s <= now_s:
            session = self._source.session(self._next_session)
            self._next_session += 1
            number = self._admit(session, 0, self._next_arrival_s)
            heapq.heappush(self._ready, (self._next_arrival_s, number))
            self._next_arrival_s += self._rng.exponential(self._mean_gap_s)
        return super().due(now_s)

    def next_due_s(self) -> float | None:
        """The next arrival, or the next agent who will have thought enough."""
        ready_s = super().next_due_s()
        next_s = self._next_arrival_s if ready_s is None else min(ready_s, self._next_arrival_s)
        return next_s if math.isfinite(next_s) else None

    def _ended(self, number: int, now_s: float) -> None:
        """The agent leaves."""
        del self._agents[number]

    def _admit(self, session: Session, turn: int, start_s: float) -> int:
        """A new agent that plays a session from a turn on; its number."""
        number = self._next_agent
        self._agents[number] = PlayingAgent(session, turn, turn, self._next_request, 1, start_s)
        self._next_agent += 1
        self._next_request += len(session.turns) - turn
        return number

    def _put_in_flight(self, count: int, turn_s: float) -> None:
        """Agents where they would be long after the first arrival."""
        candidates = max(_LEAST_CANDIDATES, _CANDIDATES * count)
        durations_s = [_duration_s(self._source.session(n), turn_s) for n in range(candidates)]
        drawn = in_proportion(durations_s, count, self._rng)
        sessions = [self._source.session(number) for number in drawn]
        turns = spread_entries([len(session.turns) for session in sessions], self._rng)
        for session, turn in zip(sessions, turns, strict=True):
            self._prefixes.extend(stored_before(session, turn))
            self._admit(session, turn, 0.0)
        self._next_session = candidates


def in_proportion(weights: Sequence[float], count: int, rng: np.random.Generator) -> list[int]:
    """Systematic sampling: indices drawn in proportion to their weights, each once at most.

    Weights that would have to be drawn more than once count as less than they are.

    Args:
        weights: positive.
        count: of indices to draw, at most half of all.
    """
    if count < 1:
        return []
    shares = np.array(weights, float)
    # Marks lie 1/count of the sum apart: a narrower interval holds one at most.
    while shares.max() * count > shares.sum():
        shares = np.minimum(shares, 0.99 * shares.sum() / count)
    # Shuffled: weights that come in waves must not beat with the marks.
    order = rng.permutation(len(shares))
    ends = np.cumsum(shares[order])
    marks = (np.arange(count) + rng.random()) / count * ends[-1]
    return [int(order[at]) for at in np.searchsorted(ends, marks, side="right")]


def spread_entries(turns: Sequence[int], rng: np.random.Generator) -> list[int]:
    """The turn at which each session is found: any of its turns alike, and evenly over sessions.

    Drawn one by one, half again as many agents as expected may be about to end their sessions, and
    to begin new ones whose first turns have to be computed whole: at 64K a fifth of all FLOPs are
    of one turn in 157.  So positions within sessions, in the order of their lengths, follow a
    sequence of low discrepancy (multiples of the golden ratio) with a random start.

    Args:
        turns: of each session, at least 1.
    """
    ranks = np.argsort(np.argsort(np.array(turns, int), kind="stable"), kind="stable")
    positions = (rng.random() + ranks * _GOLDEN_RATIO) % 1.0
    return [int(at * count) for at, count in zip(positions, turns, strict=True)]


def _duration_s(session: Session, turn_s: float) -> float:
    return sum(turn.think_s + turn_s for turn in session.turns)
