"""alpha and beta by formula: the paper's machine, whatever the scale."""

from __future__ import annotations

import pytest

from agents.caps import Shape
from agents.limits import formula_limits
from agents.prediction import TurnTimes

SHAPE = Shape(prefill=2, decode=4, engines=8, snic_bps=400e9, cnic_bps=400e9)


def test_alpha_is_three_seconds_of_a_storage_nic() -> None:
    limits = formula_limits(
        SHAPE, TurnTimes(), stretch=1.0, token_bytes=78_324, prompt_tokens=32_721
    )
    assert limits.alpha_tokens == pytest.approx(50e9 * 3 / 78_324, rel=1e-3)


def test_beta_is_five_seconds_of_an_engine_hit_tokens_included() -> None:
    # 61 TFLOP a turn at 227 TFLOP/s: about 600 K prompt tokens, the paper's order of magnitude.
    limits = formula_limits(
        SHAPE,
        TurnTimes(prefill_s=61 / 227),
        stretch=1.0,
        token_bytes=78_324,
        prompt_tokens=32_721,
    )
    assert limits.beta_tokens == pytest.approx(600_000, rel=0.03)


def test_without_compute_beta_is_what_the_cnic_carries() -> None:
    limits = formula_limits(
        SHAPE, TurnTimes(), stretch=1.0, token_bytes=78_324, prompt_tokens=32_721
    )
    assert limits.beta_tokens == pytest.approx(50e9 * 5 / 78_324 / 2, rel=1e-3)


def test_no_scale_changes_them() -> None:
    rate, size = 4000.0, 856.0
    emulated = Shape(2, 4, 8, SHAPE.snic_bps / rate, SHAPE.cnic_bps / rate)
    for prefill_s in (0.0, 0.27):
        real = formula_limits(
            SHAPE,
            TurnTimes(prefill_s=prefill_s),
            stretch=1.0,
            token_bytes=78_324,
            prompt_tokens=32_721,
        )
        scaled = formula_limits(
            emulated,
            TurnTimes(prefill_s=prefill_s * rate / size),
            stretch=rate / size,
            token_bytes=78_324 / size,
            prompt_tokens=32_721,
        )
        assert scaled.alpha_tokens == pytest.approx(real.alpha_tokens, abs=1)
        assert scaled.beta_tokens == pytest.approx(real.beta_tokens, abs=1)
