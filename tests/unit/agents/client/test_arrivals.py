"""Sessions that arrive in the open: when, which, and who is there already."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.client.arrivals import PoissonArrivals, in_proportion, spread_entries
from agents.client.playing import Submission
from agents.client.replay import make_replay
from agents.cluster import Arrivals
from agents.traces.agentic import agentic_trace
from agents.traces.load import ClosedTrace
from agents.traces.session import Session, Turn, hit_blocks


def turn(tokens: int, first: int, think_s: float) -> Turn:
    hashes = np.arange(first, first + -(-(tokens + 1) // 64), dtype=np.uint64)
    return Turn(tokens, 1, hashes, think_s=think_s)


class Sessions:
    """Session n has n % 4 + 1 turns; each but the first comes after 2 s of thought."""

    def session(self, number: int) -> Session:
        turns = [turn(100 * (k + 1), 1000 * number, 2.0 * (k > 0)) for k in range(number % 4 + 1)]
        return Session(f"s{number}", turns, append_only=True)


def arrivals(per_s: float = 1.0, in_flight: int = 0, seed: int = 1) -> PoissonArrivals:
    start = "warm" if in_flight else "cold"
    return PoissonArrivals(ClosedTrace(Sessions()), per_s, in_flight, 1.0, seed, start)  # type: ignore[arg-type]


def played(
    replay: PoissonArrivals, until_s: float, service_s: float, order: int = 0
) -> tuple[list[Submission], int]:
    """Everything submitted when each turn takes about `service_s`; sessions that ended."""
    rng = random.Random(order)
    replay.start(0.0)
    submitted: list[Submission] = []
    ends: list[tuple[float, int]] = []
    ended = 0
    while True:
        due_s = replay.next_due_s()
        assert due_s is not None
        now_s = min([due_s, *(end for end, _ in ends)])
        if now_s > until_s:
            return submitted, ended
        for end in sorted(one for one in ends if one[0] <= now_s):
            ends.remove(end)
            ended += replay.completed(end[1], now_s) is not None
        for one in replay.due(now_s):
            submitted.append(one)
            ends.append((now_s + service_s * rng.uniform(0.5, 1.5), one.request))


def test_a_cold_start_begins_with_nobody_and_agents_arrive_one_by_one() -> None:
    replay = arrivals()
    assert replay.next_due_s() is None
    assert replay.due(1e9) == []  # not started
    replay.start(10.0)
    first_s = replay.next_due_s()
    assert first_s is not None and first_s > 10.0
    (one,) = replay.due(first_s)
    assert (one.request, one.agent, one.session, one.turn_index) == (0, 0, "s0", 0)
    assert one.due_s == first_s
    # Session 0 has one turn: its agent leaves, and is not replaced.
    ended = replay.completed(0, first_s + 3.0)
    assert ended == (0, "s0", first_s, first_s + 3.0, 1, True)
    assert replay.outstanding == 0
    second_s = replay.next_due_s()
    assert second_s is not None
    assert [s.session for s in replay.due(second_s)] == ["s1"]


def test_gaps_between_arrivals_are_exponential() -> None:
    replay = arrivals(per_s=4.0)
    replay.start(0.0)
    firsts = [s.due_s for s in replay.due(1000.0)]
    gaps = np.diff([0.0, *firsts])
    assert len(gaps) == pytest.approx(4000, rel=0.05)
    assert gaps.mean() == pytest.approx(0.25, rel=0.05)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.06)
    assert np.corrcoef(gaps[1:], gaps[:-1])[0, 1] == pytest.approx(0, abs=0.06)


def test_agents_think_between_their_turns() -> None:
    replay = arrivals(per_s=1e-3)
    replay.start(0.0)
    while not replay.due(replay.next_due_s() or math.inf):
        pass
    replay.completed(0, 1.0)  # s0 leaves
    two_s = replay.next_due_s()
    assert two_s is not None
    (two,) = replay.due(two_s)
    assert replay.completed(two.request, two_s + 5.0) is None
    assert replay.next_due_s() == two_s + 7.0


def test_every_speed_and_order_is_offered_the_same() -> None:
    """Agent, session, turn and request number depend on the seed, not on the service."""
    slow, _ = played(arrivals(in_flight=5), 120.0, service_s=4.0, order=1)
    fast, _ = played(arrivals(in_flight=5), 120.0, service_s=0.1, order=2)
    other, _ = played(arrivals(in_flight=5, seed=2), 120.0, service_s=0.1, order=2)

    def named(submissions: list[Submission]) -> dict[int, tuple[int, str, int]]:
        found = {s.request: (s.agent, s.session, s.turn_index) for s in submissions}
        assert len(found) == len(submissions)
        return found

    one, two = named(slow), named(fast)
    common = one.keys() & two.keys()
    assert len(common) > 100
    assert all(one[request] == two[request] for request in common)
    assert two != named(other)


def test_as_many_leave_as_arrive_when_service_keeps_up() -> None:
    submitted, ended = played(arrivals(per_s=2.0, in_flight=9), 400.0, service_s=0.5)
    begun = len({s.agent for s in submitted})
    assert ended == pytest.approx(begun, abs=30)
    assert begun == pytest.approx(800, rel=0.1)


def test_a_warm_start_is_in_the_middle() -> None:
    trace = ClosedTrace(agentic_trace("32k", 1))
    replay = make_replay(trace, agents=40, seed=1, start="warm", arrivals=Arrivals(1e-6, 1.0))
    stored = {name for prefix in replay.prefixes() for name in prefix.tolist()}
    replay.start(0.0)
    entered = replay.due(0.0)
    assert len(entered) == 40
    assert len({s.session for s in entered}) == 40
    sessions = {trace.source.session(n).id: trace.source.session(n) for n in range(160)}
    for s in entered:
        turns = sessions[s.session].turns
        expected = len(turns[s.turn_index - 1].stored_hashes) if s.turn_index else 0
        assert hit_blocks(s.turn, stored) == expected
    # Long sessions are in flight more often than they arrive.
    lasting = np.mean([len(sessions[s.session].turns) for s in entered])
    everyone = np.mean([len(session.turns) for session in sessions.values()])
    assert lasting > 1.2 * everyone


def test_who_thinks_at_the_start_is_somewhere_in_the_pause() -> None:
    replay = arrivals(per_s=1e-9, in_flight=16)
    replay.start(100.0)
    entered = replay.due(102.0)
    assert len(entered) == 16
    waits = [s.due_s - 100.0 for s in entered]
    assert all((wait == 0.0) == (s.turn_index == 0) for s, wait in zip(entered, waits, strict=True))
    assert max(waits) <= 2.0
    assert len(set(waits)) > 4


@given(st.lists(st.floats(0.01, 1000), min_size=8, max_size=60), st.integers(0, 2**32), st.data())
def test_nobody_is_drawn_twice(weights: list[float], seed: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, len(weights) // 2))
    drawn = in_proportion(weights, count, np.random.default_rng(seed))
    assert len(set(drawn)) == len(drawn) == count
    assert all(0 <= index < len(weights) for index in drawn)


def test_draws_are_in_proportion() -> None:
    rng = np.random.default_rng(1)
    drawn = np.bincount(
        np.concatenate([in_proportion([1.0, 2.0, 3.0, 4.0], 1, rng) for _ in range(4000)])
    )
    assert drawn / 4000 == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=0.03)


@given(st.lists(st.integers(1, 500), min_size=1, max_size=200), st.integers(0, 2**32))
def test_entries_are_turns_of_the_sessions(turns: list[int], seed: int) -> None:
    found = spread_entries(turns, np.random.default_rng(seed))
    assert len(found) == len(turns)
    assert all(0 <= entry < count for entry, count in zip(found, turns, strict=True))


def test_any_turn_is_entered_alike() -> None:
    rng = np.random.default_rng(5)
    found = np.concatenate([spread_entries([4], rng) for _ in range(4000)])
    assert (abs(np.bincount(found, minlength=4) - 1000) < 100).all()  # over three deviations


def test_as_many_sessions_are_about_to_end_as_expected() -> None:
    turns = [60 + 2 * n for n in range(160)]
    soon = 8  # turns
    expected = sum(soon / count for count in turns)
    ending = []
    for seed in range(200):
        entries = spread_entries(turns, np.random.default_rng(seed))
        pairs = zip(entries, turns, strict=True)
        ending.append(sum(count - entry <= soon for entry, count in pairs))
    assert np.mean(ending) == pytest.approx(expected, rel=0.05)
    # Independent draws would differ by the root of what is expected.
    assert np.std(ending) < np.sqrt(expected) / 2


def test_a_rate_is_positive() -> None:
    with pytest.raises(ValueError, match="0 arrivals"):
        arrivals(per_s=0.0)
