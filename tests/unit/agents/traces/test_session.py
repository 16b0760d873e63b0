"""Turns, hits by prefix, and what a warm start must find in storage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.blocks.hashing import Hashes
from agents.traces.session import (
    BLOCK_TOKENS,
    Session,
    Turn,
    hit_blocks,
    hits,
    stored_before,
)


def blocks(*numbers: int) -> Hashes:
    return np.array(numbers, np.uint64)


def test_a_turn_needs_a_hash_for_every_block_begun() -> None:
    assert Turn(100, 28, blocks(1, 2)).context_tokens == 128
    assert Turn(100, 29, blocks(1, 2, 3)).stored_hashes.tolist() == [1, 2]
    with pytest.raises(ValueError, match="129 tokens are 3 blocks"):
        Turn(100, 29, blocks(1, 2))
    with pytest.raises(ValueError, match="float64"):
        Turn(64, 64, np.zeros(2))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="0 generated"):
        Turn(64, 0, blocks(1))


def test_the_last_token_of_a_prompt_is_always_computed() -> None:
    turn = Turn(128, 1, blocks(1, 2, 3))
    assert turn.prompt_hashes.tolist() == [1, 2]
    assert turn.candidate_blocks == 1
    assert hit_blocks(turn, {1, 2, 3}) == 1


def test_a_hit_ends_at_the_first_block_that_is_not_stored() -> None:
    turn = Turn(64 * 4 + 1, 1, blocks(1, 2, 3, 4, 5))
    assert hit_blocks(turn, {1, 2, 4}) == 2
    assert hit_blocks(turn, {2, 3, 4}) == 0
    assert hit_blocks(turn, set()) == 0


def test_a_turn_hits_what_the_turn_before_has_filled() -> None:
    # 100 + 60 tokens fill two blocks; 32 more begin a third, which nobody can read.
    first = Turn(100, 60, blocks(1, 2, 3))
    second = Turn(160 + 200, 1, blocks(1, 2, 3, 4, 5, 6))
    for append_only in (False, True):
        assert hits(Session("a", [first, second], append_only)) == [0, 2]


def test_a_branch_hits_its_own_beginning_again() -> None:
    turns = [
        Turn(193, 1, blocks(1, 2, 3, 4)),
        Turn(193, 1, blocks(1, 7, 8, 9)),
        Turn(257, 1, blocks(1, 2, 3, 5, 6)),
    ]
    session = Session("branching", turns)
    assert hits(session) == [0, 1, 3]
    # Before the third turn only the blocks that it reads are needed, not those of the branch.
    assert [part.tolist() for part in stored_before(session, 2)] == [[1, 2, 3]]


def test_what_begins_differently_is_stored_apart() -> None:
    one, two = Turn(129, 1, blocks(1, 2, 3)), Turn(129, 1, blocks(11, 12, 13))
    parts = stored_before(Session("two roots", [one, two, one, two]), 2)
    assert [part.tolist() for part in parts] == [[1, 2], [11, 12]]


def test_nothing_is_needed_before_the_first_turn() -> None:
    session = Session("a", [Turn(100, 100, blocks(1, 2, 3, 4))])
    assert stored_before(session, 0) == []


@st.composite
def sessions(draw: st.DrawFn) -> Session:
    """Contexts that grow, shrink and branch, named as a tree of prefixes names them."""
    known: dict[tuple[int, ...], int] = {}
    turns = []
    context: list[int] = []
    for _ in range(draw(st.integers(1, 8))):
        kept = draw(st.integers(0, len(context)))
        context = context[:kept] + draw(st.lists(st.integers(0, 2), min_size=1, max_size=6))
        prompt = len(context) * BLOCK_TOKENS - draw(st.integers(0, BLOCK_TOKENS - 1))
        generate = draw(st.integers(1, 200))
        total = -(-(prompt + generate) // BLOCK_TOKENS)
        context += [0] * (total - len(context))
        names = [known.setdefault(tuple(context[: n + 1]), len(known)) for n in range(total)]
        turns.append(Turn(prompt, generate, np.array(names, np.uint64)))
    return Session("drawn", turns)


@given(sessions(), st.data())
def test_an_agent_that_enters_midway_has_the_hits_of_one_that_began(
    session: Session, data: st.DataObject
) -> None:
    entered = data.draw(st.integers(0, len(session.turns) - 1))
    parts = [part.tolist() for part in stored_before(session, entered)]
    contexts = [turn.stored_hashes.tolist() for turn in session.turns]
    # Each is the beginning of a context, and none of another.
    assert all(any(context[: len(part)] == part for context in contexts) for part in parts)
    assert all(a == b or a != b[: len(a)] for a in parts for b in parts)
    assert len({tuple(part) for part in parts}) == len(parts)
    stored = {name for part in parts for name in part}
    found = []
    for turn in session.turns[entered:]:
        found.append(hit_blocks(turn, stored))
        stored.update(turn.stored_hashes.tolist())
    assert found == hits(session)[entered:]
