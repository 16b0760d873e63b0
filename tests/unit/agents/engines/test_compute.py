"""How long batches compute, and a clock that is not late."""

from __future__ import annotations

import asyncio

import pytest

from agents.cluster import Compute
from agents.compute import FITTED_BATCH_GAIN, batch_gain, batch_size
from agents.engines.compute import ComputeClock, attention_flops, attention_s, batch_times
from tests.unit.agents.engines import virtual

# F(L) = L up to 1000, 1000 from there on.
COMPUTE = Compute(
    seconds_per_flop=1e-3,
    active_parameters=50.0,
    attention_flops=[(0.0, 0.0), (1000.0, 1000.0), (9000.0, 1000.0)],
    tpot_s=0.0,
    batch_gain=FITTED_BATCH_GAIN,
    attention_seconds_per_flop=1e-4,
)


def test_attention_is_averaged_over_the_contexts_that_tokens_find() -> None:
    assert attention_flops(COMPUTE, 0, 100) == pytest.approx(100 * 50)
    assert attention_flops(COMPUTE, 2000, 100) == pytest.approx(100 * 1000)
    assert attention_flops(COMPUTE, 900, 200) == pytest.approx(100 * 950 + 100 * 1000)
    assert attention_s(COMPUTE, 2000, 100) == pytest.approx(10.0)


def test_chunks_take_as_much_attention_as_the_whole() -> None:
    whole = attention_flops(COMPUTE, 700, 640)
    assert attention_flops(COMPUTE, 700, 256) + attention_flops(COMPUTE, 956, 384) == (
        pytest.approx(whole)
    )


def test_a_batch_of_ten_has_the_stated_rate_and_one_alone_a_third_of_it() -> None:
    ten, one = batch_times(COMPUTE, [(2000, 100)] * 10), batch_times(COMPUTE, [(2000, 100)])
    assert sum(ten) == pytest.approx(10 * 100 * (2 * 50 + 1000) * 1e-3)
    assert sum(one) == pytest.approx(2.95 * sum(ten) / 10)
    assert ten.attention_s == pytest.approx(10 * one.attention_s)  # batches do not help it


def test_a_long_prompt_is_no_small_batch() -> None:
    assert batch_size([100, 300, 3000]) == 1 + 1 + 10
    assert batch_gain(FITTED_BATCH_GAIN, 1) == pytest.approx(1 / 2.95)
    assert batch_gain(FITTED_BATCH_GAIN, 5) == pytest.approx(2.55 / 2.95)
    assert batch_gain(FITTED_BATCH_GAIN, 40) == 1.0


def test_work_follows_on_work_however_late_the_timer_was() -> None:
    async def scene() -> None:
        loop, clock = asyncio.get_running_loop(), ComputeClock()
        assert await clock.run(2.0, ready_s=0.0) == 2.0
        await asyncio.sleep(0.25)  # somebody else held the loop up
        assert await clock.run(1.0, ready_s=1.5) == 3.0
        assert loop.time() == 3.0
        # What comes late begins late.
        assert await clock.run(1.0, ready_s=5.0) == 6.0

    virtual.run(scene())
