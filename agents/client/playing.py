"""Agents that play sessions turn by turn: what closed loops and open arrivals have in common."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from agents.blocks.hashing import Hashes
from agents.traces.session import Session, Turn

Start = Literal["warm", "cold"]


class Submission(NamedTuple):
    """A turn to submit now.

    Args:
        request: its number, unique in a run and the same under every policy.
        agent, session, turn_index: whose turn it is.
        due_s: when it should be submitted; it is late by what the driver's clock is past it.
    """

    request: int
    agent: int
    session: str
    turn_index: int
    turn: Turn
    due_s: float


class Trajectory(NamedTuple):
    """A session that has been played to its end.

    Args:
        start_s: when its first played turn was due.
        end_s: completion of its last turn.
        turns: played.
        from_first_turn: it was not entered midway: its job completion time is a whole one.
    """

    agent: int
    session: str
    start_s: float
    end_s: float
    turns: int
    from_first_turn: bool


@dataclass(slots=True)
class PlayingAgent:
    """Where an agent is.

    Args:
        session: that it plays.
        entered: turn at which it began.
        next_turn: that it submits next.
        request: number of its next request.
        request_step: from one of its requests to the next.
        start_s: when its first turn was due.
    """

    session: Session
    entered: int
    next_turn: int
    request: int
    request_step: int
    start_s: float = 0.0


class PlayingAgents:
    """Agents in flight, by number.

    A turn is due when the one before is complete and the agent has thought.  What happens when
    a session ends is for subclasses to say.
    """

    def __init__(self) -> None:
        self._agents: dict[int, PlayingAgent] = {}
        self._prefixes: list[Hashes] = []
        self._ready: list[tuple[float, int]] = []  # (due, agent)
        self._under_way: dict[int, int] = {}

    def _ended(self, number: int, now_s: float) -> None:
        """An agent has played its session to the end."""
        raise NotImplementedError

    def _think(self, number: int, now_s: float) -> None:
        """The agent's next turn is due when it has thought."""
        agent = self._agents[number]
        think_s = agent.session.turns[agent.next_turn].think_s
        heapq.heappush(self._ready, (now_s + think_s, number))

    def due(self, now_s: float) -> list[Submission]:
        """Turns whose agents have thought enough."""
        submissions = []
        while self._ready and self._ready[0][0] <= now_s:
            due_s, number = heapq.heappop(self._ready)
            agent = self._agents[number]
            request = agent.request
            agent.request += agent.request_step
            self._under_way[request] = number
            submissions.append(
                Submission(
                    request,
                    number,
                    agent.session.id,
                    agent.next_turn,
                    agent.session.turns[agent.next_turn],
                    due_s,
                )
            )
        return submissions

    def next_due_s(self) -> float | None:
        """When the first agent will have thought enough."""
        return self._ready[0][0] if self._ready else None

    def completed(self, request: int, now_s: float) -> Trajectory | None:
        """The agent goes on to its next turn, or its session has ended."""
        number = self._under_way.pop(request)
        agent = self._agents[number]
        agent.next_turn += 1
        if agent.next_turn < len(agent.session.turns):
            self._think(number, now_s)
            return None
        ended = Trajectory(
            number,
            agent.session.id,
            agent.start_s,
            now_s,
            agent.next_turn - agent.entered,
            agent.entered == 0,
        )
        self._ended(number, now_s)
        return ended

    def prefixes(self) -> Iterator[Hashes]:
        """What the agents' earlier turns have left; nothing in a cold start."""
        return iter(self._prefixes)

    @property
    def outstanding(self) -> int:
        """Requests submitted and not completed."""
        return len(self._under_way)
