"""Every k-th turn keeps its context, append and generation, and finds what it would have found."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.traces.agentic import agentic_trace
from agents.traces.session import BLOCK_TOKENS, hits
from agents.traces.thinned import Thinned


@given(st.integers(0, 40), st.sampled_from([2, 8, 1000]))
def test_played_turns_are_those_of_the_whole_trajectory(number: int, every: int) -> None:
    source = agentic_trace("32k", 7)
    whole, thin = source.session(number), Thinned(source, every).session(number)
    first = min(number % every, len(whole.turns) - 1)
    chosen = list(range(first, len(whole.turns), every))
    assert [(t.prompt_tokens, t.generate_tokens) for t in thin.turns] == [
        (whole.turns[i].prompt_tokens, whole.turns[i].generate_tokens) for i in chosen
    ]
    assert hits(thin) == [hits(whole)[i] for i in chosen]


def test_what_one_turn_appends_no_other_finds() -> None:
    thin = Thinned(agentic_trace("32k", 7), 8).session(3)
    streams = [set(turn.hashes.tolist()) for turn in thin.turns]
    assert len(set().union(*streams)) == sum(map(len, streams))
    assert len(thin.found) == len(thin.turns)
    for turn, found in zip(thin.turns, thin.found, strict=True):
        assert turn.hashes[: len(found)].tolist() == found.tolist()
        assert len(found) < turn.prompt_tokens / BLOCK_TOKENS


def test_a_mean_of_thinned_turns_is_near_that_of_all() -> None:
    source = agentic_trace("64k", 1)
    thinned = Thinned(source, 8)
    whole = [t.prompt_tokens for n in range(60) for t in source.session(n).turns]
    thin = [t.prompt_tokens for n in range(60) for t in thinned.session(n).turns]
    assert sum(thin) / len(thin) == pytest.approx(sum(whole) / len(whole), rel=0.05)
    assert len(thin) == pytest.approx(len(whole) / 8, rel=0.05)


def test_opening_turns_are_as_frequent_among_thinned_turns_as_among_all() -> None:
    source, every, sessions = agentic_trace("64k", 1), 8, 240
    thinned = [Thinned(source, every).session(number) for number in range(sessions)]
    opening = [s for s in thinned if hits(s)[0] == 0]
    assert len(opening) == pytest.approx(sessions / every, abs=2)
    computed = [
        sum(
            turn.prompt_tokens - BLOCK_TOKENS * hit
            for turn, hit in zip(s.turns, hits(s), strict=True)
        )
        for s in [*thinned, *(source.session(number) for number in range(sessions))]
    ]
    assert every * sum(computed[:sessions]) == pytest.approx(sum(computed[sessions:]), rel=0.05)
