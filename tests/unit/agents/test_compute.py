"""Compute times of prefill and decode engines."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.compute import (
    FITTED_BATCH_GAIN,
    attention_points,
    batch_gain,
    emulated_compute,
    engine_speeds,
    prefill_flops,
    tpot,
)
from agents.models import PRESETS
from testbed.errors import ScenarioError

DS = PRESETS["ds-660b"]


def test_a_mean_turn_of_the_64k_trace_takes_61_tflop() -> None:
    assert prefill_flops(DS, 32_721, 429) == pytest.approx(61e12, rel=0.01)


@given(st.integers(0, 100_000), st.integers(1, 5000))
def test_the_sum_over_appended_tokens(context: int, append: int) -> None:
    one_by_one = sum(
        2 * DS.active_parameters + DS.attention_flops(context + n + 0.5) for n in range(append)
    )
    # The middle of a token is exact where F is linear, and almost so at its one bend.
    assert prefill_flops(DS, context, append) == pytest.approx(one_by_one, rel=1e-6)


def test_appending_in_two_steps_takes_as_much() -> None:
    whole = prefill_flops(DS, 1000, 3000)
    assert prefill_flops(DS, 1000, 1500) + prefill_flops(DS, 2500, 1500) == pytest.approx(whole)
    assert prefill_flops(DS, 1000, 0) == 0


@given(st.integers(0, DS.max_context_tokens))
def test_points_describe_attention_exactly(context: int) -> None:
    lengths, flops = zip(*attention_points(DS), strict=True)
    assert np.interp(context, lengths, flops) == pytest.approx(DS.attention_flops(context))


def test_durations_stretch_with_the_run() -> None:
    compute = emulated_compute(DS, 4.0, prefill_flops_per_s=None, tpot_s=None)
    assert compute.seconds_per_flop == pytest.approx(4.0 / 227e12)
    assert compute.tpot_s == pytest.approx(0.156)
    given = emulated_compute(DS, 2.0, prefill_flops_per_s=1e15, tpot_s=0.02)
    assert given.seconds_per_flop == pytest.approx(2e-15)
    assert given.tpot_s == pytest.approx(0.04)


def test_a_model_of_unknown_speed_must_be_told() -> None:
    with pytest.raises(ScenarioError, match="ds-v3 is not known"):
        engine_speeds(PRESETS["ds-v3"], prefill_flops_per_s=1e15, tpot_s=None)
    assert engine_speeds(PRESETS["ds-v3"], prefill_flops_per_s=1e15, tpot_s=0.02) == (1e15, 0.02)


@pytest.mark.parametrize("name", ["ds-660b", "ds-27b", "qwen2.5-32b"])
@given(requests=st.integers(1, 500), context=st.integers(0, 130_000), stretch=st.floats(0.5, 50))
def test_a_step_of_an_engine_is_the_models_stretched(
    name: str, requests: int, context: int, stretch: float
) -> None:
    model = PRESETS[name]
    compute = emulated_compute(model, stretch)
    expected = model.step_s(requests, context)
    assert expected is not None
    assert tpot(compute, requests, context) == pytest.approx(expected * stretch)


def test_the_typical_step_of_the_main_model_takes_39_ms() -> None:
    compute = emulated_compute(DS, 4.0)
    assert tpot(compute, 13, 33_150) == pytest.approx(4 * 39e-3) == compute.tpot_s
    # Weights and overhead alone, and growing with both.
    assert tpot(compute, 1, 0) == pytest.approx(4 * (37.4375 / 3350 + 17.749e-3), rel=1e-3)
    assert tpot(compute, 13, 60_000) > tpot(compute, 13, 33_150) > tpot(compute, 5, 33_150)


def test_a_stated_time_per_output_token_holds_whatever_the_batch() -> None:
    compute = emulated_compute(DS, 2.0, tpot_s=0.02)
    assert tpot(compute, 1, 0) == tpot(compute, 400, 100_000) == 0.04


def test_faster_gpus_compute_faster_and_read_hbm_as_before() -> None:
    plain, faster = (emulated_compute(DS, 1.0, flops_trend=trend) for trend in (1.0, 28.8))
    assert plain.seconds_per_flop == pytest.approx(28.8 * faster.seconds_per_flop)
    # At the typical batch a step waits for memory.
    assert tpot(plain, 13, 33_150) == tpot(faster, 13, 33_150)


def test_the_fitted_gain_of_larger_batches() -> None:
    gains = [batch_gain(FITTED_BATCH_GAIN, n) for n in (1, 5, 10, 50)]
    assert gains == pytest.approx([1 / 2.95, 2.55 / 2.95, 1, 1])
    assert batch_gain(FITTED_BATCH_GAIN, 3) == pytest.approx((1 + 2.55) / 2 / 2.95)
    assert batch_gain(FITTED_BATCH_GAIN, 0.4) == gains[0]
    assert batch_gain(((1.0, 1.0),), 7) == 1
    assert emulated_compute(DS, 1.0).batch_gain == FITTED_BATCH_GAIN
