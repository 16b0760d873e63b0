"""Which of several programs that ended the others' ends follow from."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from testbed.experiment.programs import Said, blamed


def failed(name: str, t_s: float, *, lost: bool = False) -> Said:
    return Said(name, "failed", {"message": "why", "lost": lost, "t_s": t_s})


def ended(name: str) -> Said:
    return Said(name, None, {})


def test_the_cause_is_blamed_and_not_who_lost_it() -> None:
    heard = [
        failed("client", 2.0, lost=True),
        ended("client"),
        failed("sched", 1.0),
        ended("sched"),
    ]
    assert blamed(heard).name == "sched"


def test_of_two_causes_the_earlier_is_blamed() -> None:
    assert blamed([failed("pe0", 2.0), failed("de0", 1.0)]).name == "de0"


def test_who_was_killed_says_nothing_and_is_blamed_before_who_lost_it() -> None:
    heard = [failed("client", 2.0, lost=True), ended("client"), ended("st0")]
    assert blamed(heard) == ended("st0")


def test_if_all_have_lost_somebody_it_is_the_first() -> None:
    assert blamed([failed("b", 2.0, lost=True), failed("a", 1.0, lost=True)]).name == "a"


@given(st.permutations([failed("client", 3.0, lost=True), ended("client"), failed("pe0", 2.0),
                        ended("pe0"), failed("de0", 2.5, lost=True), ended("de0")]))  # fmt: skip
def test_the_order_in_which_they_are_heard_does_not_matter(heard: list[Said]) -> None:
    assert blamed(heard).name == "pe0"
