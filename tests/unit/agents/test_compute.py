"""Compute times of prefill and decode engines."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.compute import attention_points, emulated_compute, engine_speeds, prefill_flops
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
    with pytest.raises(ScenarioError, match=r"qwen2\.5-32b is not known"):
        engine_speeds(PRESETS["qwen2.5-32b"], prefill_flops_per_s=1e15, tpot_s=None)
    assert engine_speeds(PRESETS["qwen2.5-32b"], prefill_flops_per_s=1e15, tpot_s=0.02) == (
        1e15,
        0.02,
    )
