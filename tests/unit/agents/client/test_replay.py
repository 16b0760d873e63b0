"""What agents submit, and when: closed loops, clock-released requests, warm starts."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pytest

from agents.client.replay import ClockReleased, ClosedLoop, Submission, make_replay
from agents.cluster import Steady
from agents.traces.agentic import agentic_trace
from agents.traces.load import ClosedTrace, OpenTrace
from agents.traces.session import Session, Turn, hit_blocks
from agents.traces.thinned import Thinned


def turn(tokens: int, first: int = 0, think_s: float = 0.0, at: float | None = None) -> Turn:
    hashes = np.arange(first, first + -(-(tokens + 1) // 64), dtype=np.uint64)
    return Turn(tokens, 1, hashes, think_s=think_s, release_s=at)


class Sessions:
    """Session n has n % 3 + 1 turns; each turn but the first comes after 2 s of thought."""

    def session(self, number: int) -> Session:
        turns = [turn(100 * (k + 1), 1000 * number, 2.0 * (k > 0)) for k in range(number % 3 + 1)]
        return Session(f"s{number}", turns, append_only=True)


def described(submissions: Sequence[Submission]) -> list[tuple[int, int, str, int, float]]:
    return [(s.request, s.agent, s.session, s.turn_index, s.due_s) for s in submissions]


def test_agents_play_their_sessions_turn_by_turn() -> None:
    loop = ClosedLoop(ClosedTrace(Sessions()), agents=2, seed=1, start="cold")
    assert loop.next_due_s() is None
    loop.start(10.0)
    assert loop.next_due_s() == 10.0
    assert described(loop.due(10.0)) == [(0, 0, "s0", 0, 10.0), (1, 1, "s1", 0, 10.0)]
    assert loop.outstanding == 2
    assert loop.due(99.0) == []
    # s0 has one turn: a new agent takes its place at once, with the next session of its own.
    ended = loop.completed(0, 12.0)
    assert ended == (0, "s0", 10.0, 12.0, 1, True)
    assert described(loop.due(12.0)) == [(2, 0, "s2", 0, 12.0)]
    # s1 has a second turn, after 2 s of thought.
    assert loop.completed(1, 13.0) is None
    assert loop.next_due_s() == 15.0
    assert loop.due(14.9) == []
    assert described(loop.due(15.5)) == [(3, 1, "s1", 1, 15.0)]
    assert loop.completed(3, 16.0) == (1, "s1", 10.0, 16.0, 2, True)


def test_a_request_completes_once() -> None:
    loop = ClosedLoop(ClosedTrace(Sessions()), agents=1, seed=1, start="cold")
    loop.start(0.0)
    loop.due(0.0)
    loop.completed(0, 1.0)
    with pytest.raises(KeyError):
        loop.completed(0, 1.0)


def played(seed: int, order: int, turns: int = 60) -> dict[int, list[tuple[int, str, int]]]:
    """What each of six agents submits when completions come in some order."""
    rng = random.Random(order)
    loop = ClosedLoop(ClosedTrace(agentic_trace("32k", 5)), agents=6, seed=seed)
    loop.start(0.0)
    seen: dict[int, list[tuple[int, str, int]]] = defaultdict(list)
    under_way: list[int] = []
    for step in range(turns * 6):
        for s in loop.due(float(step)):
            seen[s.agent].append((s.request, s.session, s.turn_index))
            under_way.append(s.request)
        loop.completed(under_way.pop(rng.randrange(len(under_way))), float(step))
    return seen


def test_every_order_of_completion_is_offered_the_same_turns() -> None:
    one, two = played(seed=3, order=1), played(seed=3, order=2)
    numbers = set()
    for agent in range(6):
        common = min(len(one[agent]), len(two[agent]))
        assert common > 20
        assert one[agent][:common] == two[agent][:common]
        numbers |= {request for request, _, _ in one[agent]}
    assert len(numbers) == sum(map(len, one.values()))
    assert one != played(seed=4, order=1)


def test_a_warm_start_enters_midway_and_finds_its_prefix() -> None:
    trace = ClosedTrace(agentic_trace("32k", 1))
    loop = make_replay(trace, agents=40, seed=1, start="warm")
    stored = {name for prefix in loop.prefixes() for name in prefix.tolist()}
    loop.start(0.0)
    entered = loop.due(0.0)
    assert len({s.turn_index for s in entered}) > 10
    for s in entered:
        before = trace.source.session(s.agent).turns[s.turn_index - 1] if s.turn_index else None
        expected = 0 if before is None else len(before.stored_hashes)
        assert hit_blocks(s.turn, stored) == expected


class ThreeTurns:
    """Every session has three turns without thought."""

    def session(self, number: int) -> Session:
        turns = [turn(100 * (k + 1), 1000 * number) for k in range(3)]
        return Session(f"s{number}", turns, append_only=True)


def test_only_a_session_seen_whole_has_a_job_completion_time() -> None:
    entries = set()
    for seed in range(20):
        loop = ClosedLoop(ClosedTrace(ThreeTurns()), agents=1, seed=seed, start="warm")
        loop.start(0.0)
        trajectories = []
        submissions = []
        for step in range(6):
            submissions += loop.due(float(step))
            trajectories.append(loop.completed(submissions[step].request, step + 1.0))
        entered = submissions[0].turn_index
        entries.add(entered)
        first, second = [t for t in trajectories if t is not None][:2]
        assert first == (0, "s0", 0.0, 3.0 - entered, 3 - entered, entered == 0)
        assert second == (0, "s1", first.end_s, first.end_s + 3.0, 3, True)
    assert entries == {0, 1, 2}


def test_a_cold_start_needs_nothing() -> None:
    loop = ClosedLoop(ClosedTrace(Sessions()), agents=5, seed=2, start="cold")
    assert list(loop.prefixes()) == []
    loop.start(0.0)
    assert {s.turn_index for s in loop.due(0.0)} == {0}


def test_the_number_of_agents_does_not_change_where_one_enters() -> None:
    def first_turns(agents: int) -> list[int]:
        loop = ClosedLoop(ClosedTrace(agentic_trace("32k", 1)), agents=agents, seed=1)
        loop.start(0.0)
        return [s.turn_index for s in loop.due(0.0)]

    assert first_turns(30)[:10] == first_turns(10)


def test_the_clock_releases_requests_however_slow_the_answers_are() -> None:
    sessions = [Session(f"r{n}", [turn(100, 10 * n, at=0.5 * n)]) for n in range(4)]
    trace = OpenTrace(sessions, [np.array([7, 8], np.uint64)])
    replay = make_replay(trace, agents=1, seed=1, start="warm")
    assert isinstance(replay, ClockReleased)
    assert [prefix.tolist() for prefix in replay.prefixes()] == [[7, 8]]
    assert list(ClockReleased(trace, start="cold").prefixes()) == []
    assert replay.due(100.0) == []  # not started
    replay.start(100.0)
    assert described(replay.due(100.6)) == [(0, 0, "r0", 0, 100.0), (1, 1, "r1", 0, 100.5)]
    assert replay.next_due_s() == 101.0
    assert replay.outstanding == 2
    assert replay.completed(1, 103.0) == (1, "r1", 100.5, 103.0, 1, True)
    assert [s.request for s in replay.due(200.0)] == [2, 3]
    assert replay.next_due_s() is None
    assert replay.outstanding == 3


def test_a_loop_needs_agents() -> None:
    with pytest.raises(ValueError, match="0 agents"):
        ClosedLoop(ClosedTrace(Sessions()), agents=0, seed=1)


def test_agents_that_play_one_session_stay_away_then() -> None:
    trace = ClosedTrace(Sessions())
    loop = make_replay(trace, agents=2, seed=1, start="cold", endless=False)
    loop.start(0.0)
    loop.due(0.0)
    assert loop.completed(0, 1.0) is not None
    assert loop.next_due_s() is None
    assert loop.completed(1, 1.0) is None
    (last,) = loop.due(3.0)
    assert loop.completed(last.request, 4.0) is not None
    assert loop.next_due_s() is None and loop.outstanding == 0


def test_a_steady_start_finds_agents_in_long_sessions_and_spread_over_a_turn() -> None:
    trace = ClosedTrace(agentic_trace("64k", 1))
    steady = Steady(turn_s=10.0, token_s=0.0)
    loop = ClosedLoop(trace, agents=200, seed=1, steady=steady)
    loop.start(0.0)
    times = []
    while len(times) < 200:
        due_s = loop.next_due_s()
        assert due_s is not None
        times += [due_s] * len(loop.due(due_s))
    assert max(times) <= 10.0
    assert np.mean(times) == pytest.approx(5.0, rel=0.15)
    sessions = [trace.source.session(n) for n in range(400)]
    mean = np.mean([len(s.turns) for s in sessions])
    found = [len(agent.session.turns) for agent in loop._agents.values()]
    # In proportion to their turns: the mean is that of their squares.
    assert np.mean(found) == pytest.approx(
        np.mean([len(s.turns) ** 2 for s in sessions]) / mean, rel=0.1
    )


def test_a_session_that_finds_something_has_it_laid_down() -> None:
    trace = ClosedTrace(Thinned(agentic_trace("32k", 1), 8))
    loop = ClosedLoop(trace, agents=3, seed=1, start="cold", endless=False)
    expected = [found for n in range(3) for found in trace.source.session(n).found]
    assert [p.tolist() for p in loop.prefixes()] == [p.tolist() for p in expected]
