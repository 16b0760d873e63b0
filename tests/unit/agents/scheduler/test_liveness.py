"""Who counts as lost, and that a scheduler that was held up blames nobody for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.scheduler.liveness import TICKS, Liveness

NODES = ["pe0", "de0", "st0"]


def ticked(liveness: Liveness, times: int, start_s: float = 0.0) -> list[str]:
    """Tick punctually; who is lost at the end."""
    lost: list[str] = []
    for tick in range(times):
        lost = liveness.tick(start_s + tick * liveness.period_s)
    return lost


def test_who_says_nothing_for_the_whole_time_is_lost() -> None:
    liveness = Liveness(NODES, 4.0)
    assert ticked(liveness, TICKS) == []
    liveness.heard("de0")
    assert liveness.tick(4.0) == ["pe0", "st0"]
    liveness.lose("pe0")
    assert liveness.tick(4.5) == ["st0"]
    liveness.heard("client")  # nobody that is asked about
    liveness.heard("pe0")
    assert liveness.tick(5.0) == ["st0"]


def test_a_scheduler_that_was_held_up_waits_for_what_has_been_said_meanwhile() -> None:
    liveness = Liveness(NODES, 1.0)
    assert ticked(liveness, 3) == []
    assert liveness.tick(60.0) == []


@given(
    st.floats(0.1, 100.0),
    st.lists(st.tuples(st.floats(0.0, 3.0), st.booleans()), min_size=1, max_size=40),
)
def test_silence_is_the_time_heard_since_the_last_word(
    limit_s: float, ticks: list[tuple[float, bool]]
) -> None:
    """Steps in periods, and whether the node has spoken before each tick: against the rule."""
    liveness = Liveness(["pe0"], limit_s)
    now_s, silent_periods, first = 0.0, 0.0, True
    for step, spoke in ticks:
        if spoke:
            liveness.heard("pe0")
            silent_periods = 0.0
        now_s += step * liveness.period_s
        silent_periods += 0.0 if first else min(step, 1.0)
        first = False
        lost = liveness.tick(now_s) == ["pe0"]
        if silent_periods != pytest.approx(TICKS):
            assert lost == (silent_periods > TICKS)
