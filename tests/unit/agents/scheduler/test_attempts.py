"""Tries of a turn: how many, of which numbers, and what each may do."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.control.messages import Retry, Submit
from agents.numbers import try_number
from agents.read_path import Side
from agents.scheduler.attempts import Attempts


def turn(request: int = 7) -> Submit:
    return Submit(request, 0, "s", 0, 1000, 10, b"", 1.0)


def test_a_try_that_failed_of_the_environment_is_followed_by_one_of_another_number() -> None:
    attempts = Attempts(3)
    first = attempts.submit(turn())
    assert first == 7
    attempts.begin(first)
    second = attempts.failed(first, "elsewhere")
    assert second == try_number(7, 2)
    assert attempts.submitted(second) == turn()
    attempts.begin(second)
    assert attempts.end(second) == (turn(), 2)


@pytest.mark.parametrize("ask", ["submitted", "begin", "end"])
def test_a_try_that_was_given_up_is_nobodys(ask: str) -> None:
    attempts = Attempts(3)
    first = attempts.submit(turn())
    attempts.begin(first)
    attempts.failed(first, "reread")
    with pytest.raises(KeyError):
        getattr(attempts, ask)(first)


def test_a_defect_is_not_tried_again() -> None:
    attempts = Attempts(3)
    number = attempts.submit(turn())
    attempts.begin(number)
    assert attempts.failed(number, "") is None
    assert attempts.end(number).attempts == 1


def test_a_request_that_is_rejected_was_never_tried() -> None:
    attempts = Attempts(3)
    assert attempts.end(attempts.submit(turn())).attempts == 0


def test_a_turn_is_under_way_once() -> None:
    attempts = Attempts(3)
    number = attempts.submit(turn())
    with pytest.raises(ValueError, match="under way already"):
        attempts.submit(turn())
    attempts.end(number)
    assert attempts.submit(turn()) == number


@given(st.lists(st.sampled_from(get_args(Retry)), max_size=20), st.integers(1, 16))
def test_there_are_never_more_tries_than_the_limit_and_all_differ(
    fails: list[Retry], limit: int
) -> None:
    attempts = Attempts(limit)
    number: int | None = attempts.submit(turn())
    numbers = []
    for retry in fails:
        if number is None:
            break
        numbers.append(number)
        attempts.begin(number)
        number = attempts.failed(number, retry)
        if number is None:
            assert retry == "" or len(numbers) == limit
            assert attempts.end(numbers[-1]).attempts == len(numbers)
    assert len(set(numbers)) == len(numbers) <= limit


@pytest.mark.parametrize(("failed", "other"), [("pe", "de"), ("de", "pe")])
def test_what_is_still_stored_is_read_by_the_other_side(failed: Side, other: Side) -> None:
    attempts = Attempts(3)
    first = attempts.submit(turn())
    assert attempts.side(first, 10) is None
    attempts.begin(first)
    second = attempts.failed(first, "reread", side=failed, hits=10)
    assert second is not None
    assert attempts.side(second, 10) == attempts.side(second, 12) == other


def test_a_shorter_hit_is_the_policys_to_place() -> None:
    attempts = Attempts(3)
    first = attempts.submit(turn())
    attempts.begin(first)
    second = attempts.failed(first, "reread", side="pe", hits=10)
    assert second is not None
    assert attempts.side(second, 9) is None


def test_other_engines_may_read_as_the_policy_says() -> None:
    attempts = Attempts(3)
    number: int | None = attempts.submit(turn())
    assert number is not None
    attempts.begin(number)
    number = attempts.failed(number, "reread", side="pe", hits=10)
    assert number is not None
    attempts.begin(number)
    number = attempts.failed(number, "elsewhere")
    assert number is not None
    assert attempts.side(number, 10) is None


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_the_last_try_after_a_failed_read_reads_nothing(limit: int) -> None:
    attempts = Attempts(limit)
    number: int | None = attempts.submit(turn())
    may = []
    while number is not None:
        may.append(attempts.may_read(number))
        attempts.begin(number)
        number = attempts.failed(number, "reread", side="pe", hits=10)
    assert may == [True, *[True] * (limit - 2), *[False] * (limit > 1)]


def test_the_last_try_after_a_lost_node_may_read() -> None:
    attempts = Attempts(2)
    first = attempts.submit(turn())
    attempts.begin(first)
    second = attempts.failed(first, "elsewhere")
    assert second is not None
    assert attempts.may_read(second)


def test_a_later_scheduler_counts_its_own_tries_and_goes_on_with_those_it_finds() -> None:
    attempts = Attempts(2, first=17)
    assert attempts.submit(turn(5)) == try_number(5, 17)
    attempts.adopt(turn(6), try_number(6, 2))
    again = attempts.failed(try_number(6, 2), "elsewhere")
    assert again == try_number(6, 3)
    attempts.begin(again)
    assert attempts.failed(again, "elsewhere") is None
    assert attempts.end(again) == (turn(6), 2)
    with pytest.raises(ValueError, match="under way already"):
        attempts.adopt(turn(5), 5)
