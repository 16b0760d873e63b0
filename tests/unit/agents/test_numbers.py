"""Numbers of tries and of puts: none is another's, and all fit a write's immediate."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.numbers import (
    TRIES,
    attempt_of,
    put_numbers,
    show_request,
    try_number,
    turn_of,
)
from agents.wire.immediates import Kind, pack, unpack

TURNS = st.integers(0, (1 << 24) - 1)
ATTEMPTS = st.integers(1, TRIES)


@given(TURNS, ATTEMPTS)
def test_a_number_says_turn_and_try_and_fits_an_immediate(turn: int, attempt: int) -> None:
    number = try_number(turn, attempt)
    assert (turn_of(number), attempt_of(number)) == (turn, attempt)
    assert unpack(pack(number, Kind.H2D, 0, last=True)).number == number


def test_the_first_try_has_the_number_of_its_turn() -> None:
    assert try_number(7, 1) == 7
    assert show_request(7) == "request 7"
    assert show_request(try_number(7, 3)) == "request 7 (try 3)"
    assert show_request(next(put_numbers(0))) == "put 16777216"


@pytest.mark.parametrize(("turn", "attempt"), [(-1, 1), (1 << 24, 1), (0, 0), (0, TRIES + 1)])
def test_what_does_not_fit_is_refused(turn: int, attempt: int) -> None:
    with pytest.raises(ValueError, match="there is no number for try"):
        try_number(turn, attempt)


@given(TURNS, ATTEMPTS, st.integers(0, 254))
def test_no_put_has_the_number_of_a_try_or_of_another_nodes(
    turn: int, attempt: int, node: int
) -> None:
    puts = put_numbers(node)
    first, second = next(puts), next(puts)
    assert second == first + 1
    own = range(first, first + (1 << 24))
    assert try_number(turn, attempt) not in own
    if node:
        assert next(put_numbers(node - 1)) + (1 << 24) == first
    pack(own[-1], Kind.STORAGE_WRITE, 0, last=True)


@pytest.mark.parametrize("node", [-1, 255])
def test_more_nodes_than_can_be_told_apart_are_refused(node: int) -> None:
    with pytest.raises(ValueError, match="no numbers for the puts"):
        put_numbers(node)
