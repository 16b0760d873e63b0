"""What agents do next: pure logic, told the time, so that any clock can drive it.

A driver asks `due(now_s)` for turns to submit, sleeps until `next_due_s()` or a completion, and
reports each completion.  What an agent submits, and under which request numbers, depends on the
seed and never on the order of completions: every policy is offered the same turns.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from agents.blocks.hashing import Hashes
from agents.client.arrivals import PoissonArrivals, in_proportion, spread_entries
from agents.client.playing import PlayingAgent, PlayingAgents, Start, Submission, Trajectory
from agents.cluster import Arrivals, Steady
from agents.traces.load import ClosedTrace, OpenTrace
from agents.traces.session import stored_before

# Sessions that agents of a steady start could be in, for each that one is in.
_CANDIDATES = 4


class Replay(Protocol):
    """Offers turns, and is told of their completion.  All times are of the driver's clock."""

    def start(self, now_s: float) -> None:
        """The run begins; first turns become due."""

    def due(self, now_s: float) -> list[Submission]:
        """Turns to submit now, each handed out once, in the order in which they became due."""

    def next_due_s(self) -> float | None:
        """When `due` will have something, if nothing completes before; None if it will not."""

    def completed(self, request: int, now_s: float) -> Trajectory | None:
        """A request has been answered in full; the session that this ends, if it does.

        Raises:
            KeyError: no such request is under way.
        """

    def prefixes(self) -> Iterator[Hashes]:
        """Prefixes that storage must hold before a warm start, each from its first block on."""

    @property
    def outstanding(self) -> int:
        """Requests submitted and not completed."""


class ClosedLoop(PlayingAgents):
    """A constant number of agents, each submitting its next turn when the one before is complete.

    In a warm start each agent enters its first session at a uniformly drawn turn, whose prefix
    is in storage already.  An agent that finishes is replaced by a new one, at the first turn of
    a session that nobody has played: the population goes on as it is.  A cold start begins with
    every session's first turn.

    Args:
        trace: where sessions come from.  Agent i of n plays sessions i, i + n, i + 2n, …
        agents: how many.
        seed: of the turns at which they enter.
        start: "warm" or "cold".
        steady: of a warm start: first sessions are drawn by their expected durations, as they are
            found after a long time, and entered at evenly spread turns; None: sessions 0, 1, 2, …
        endless: False: an agent stays away when its session has ended.

    Raises:
        ValueError: there are no agents.
    """

    def __init__(
        self,
        trace: ClosedTrace,
        agents: int,
        seed: int,
        start: Start = "warm",
        *,
        steady: Steady | None = None,
        endless: bool = True,
    ) -> None:
        super().__init__()
        if agents < 1:
            raise ValueError(f"a closed loop of {agents} agents")
        self._source = trace.source
        self._count = agents
        self._endless = endless
        self._steady = steady if start == "warm" else None
        self._seed = seed
        self._sessions_begun = [1] * agents
        first = list(range(agents))
        if self._steady is not None:
            first = _in_steady_state(trace, agents, seed, self._steady)
            self._sessions_begun = [-(-(max(first) + 1) // agents)] * agents
        sessions = [self._source.session(number) for number in first]
        turns = self._entries([len(session.turns) for session in sessions], start)
        for number, (session, turn) in enumerate(zip(sessions, turns, strict=True)):
            self._prefixes.extend(session.found)
            self._prefixes.extend(stored_before(session, turn))
            self._agents[number] = PlayingAgent(session, turn, turn, number, agents)

    def _entries(self, turns: Sequence[int], start: Start) -> list[int]:
        """The turn at which each agent enters its first session."""
        if start == "cold":
            return [0] * len(turns)
        if self._steady is not None:
            return spread_entries(turns, np.random.default_rng((self._seed, 6)))
        # One generator per agent: its turn does not depend on how many others there are.
        rngs = (np.random.default_rng((self._seed, 2, number)) for number in range(len(turns)))
        return [int(rng.integers(count)) for rng, count in zip(rngs, turns, strict=True)]

    def start(self, now_s: float) -> None:
        """All agents submit at once; in a steady state at moments all over the time of a turn."""
        for number, agent in self._agents.items():
            agent.start_s = now_s + self._lag_s(number, agent)
            heapq.heappush(self._ready, (agent.start_s, number))

    def _lag_s(self, number: int, agent: PlayingAgent) -> float:
        if self._steady is None:
            return 0.0
        tokens = agent.session.turns[agent.next_turn].generate_tokens
        turn_s = self._steady.turn_s + tokens * self._steady.token_s
        return turn_s * float(np.random.default_rng((self._seed, 5, number)).random())

    def _ended(self, number: int, now_s: float) -> None:
        """A new agent takes its place, if there are to be any."""
        if not self._endless:
            del self._agents[number]
            return
        agent = self._agents[number]
        agent.session = self._source.session(number + self._sessions_begun[number] * self._count)
        self._sessions_begun[number] += 1
        agent.entered = agent.next_turn = 0
        agent.start_s = now_s
        self._think(number, now_s)


def _in_steady_state(trace: ClosedTrace, agents: int, seed: int, steady: Steady) -> list[int]:
    """Sessions that agents are found in after a long time: the longer they last, the more often."""
    candidates = [trace.source.session(number) for number in range(_CANDIDATES * agents)]
    durations_s = [
        sum(t.think_s + steady.turn_s + t.generate_tokens * steady.token_s for t in session.turns)
        for session in candidates
    ]
    return in_proportion(durations_s, agents, np.random.default_rng((seed, 4)))


class ClockReleased:
    """Requests that are submitted by the clock, however slow the answers are.

    Args:
        trace: the requests; each is an agent of its own.
        start: "warm" if storage holds what requests before these have left.
    """

    def __init__(self, trace: OpenTrace, start: Start = "warm") -> None:
        self._sessions = trace.sessions
        self._prefixes = list(trace.prefixes) if start == "warm" else []
        self._next = 0
        self._start_s: float | None = None
        self._under_way: dict[int, float] = {}

    def start(self, now_s: float) -> None:
        """The trace's time 0 is now."""
        self._start_s = now_s

    def due(self, now_s: float) -> list[Submission]:
        """Requests whose time has come."""
        submissions = []
        while (due_s := self.next_due_s()) is not None and due_s <= now_s:
            session = self._sessions[self._next]
            self._under_way[self._next] = due_s
            submissions.append(
                Submission(self._next, self._next, session.id, 0, session.turns[0], due_s)
            )
            self._next += 1
        return submissions

    def next_due_s(self) -> float | None:
        """When the next request is released; None after the last, or before `start`."""
        if self._start_s is None or self._next == len(self._sessions):
            return None
        return self._start_s + (self._sessions[self._next].turns[0].release_s or 0.0)

    def completed(self, request: int, now_s: float) -> Trajectory | None:
        """A request is a whole session."""
        start_s = self._under_way.pop(request)
        return Trajectory(request, self._sessions[request].id, start_s, now_s, 1, True)

    def prefixes(self) -> Iterator[Hashes]:
        """What requests before these have left; nothing in a cold start."""
        return iter(self._prefixes)

    @property
    def outstanding(self) -> int:
        """Requests submitted and not completed."""
        return len(self._under_way)


def make_replay(
    trace: ClosedTrace | OpenTrace,
    *,
    agents: int,
    seed: int,
    start: Start = "warm",
    arrivals: Arrivals | None = None,
    steady: Steady | None = None,
    endless: bool = True,
) -> Replay:
    """The replay of a trace.

    Args:
        agents: of a closed loop, or in flight when arrivals begin.
        seed: of everything random; a trace released by the clock has nothing of it.
        arrivals: of sessions; None for a closed loop.
        steady, endless: of a closed loop, see `ClosedLoop`.
    """
    if isinstance(trace, OpenTrace):
        return ClockReleased(trace, start)
    if arrivals is not None:
        return PoissonArrivals(trace, arrivals.per_s, agents, arrivals.turn_s, seed, start)
    return ClosedLoop(trace, agents, seed, start, steady=steady, endless=endless)
