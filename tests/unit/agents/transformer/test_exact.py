"""Sums of integers in float64 are exact, element-wise operations do not depend on neighbours."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agents.transformer import exact
from agents.transformer.exact import ONE, Exact

seeds = st.integers(0, 2**32 - 1)


def integers(seed: int, limit: float, *shape: int) -> Exact:
    """Integers anywhere within a limit, many of them at it."""
    rng = np.random.default_rng(seed)
    drawn = np.rint(rng.uniform(-limit, limit, shape))
    return np.where(rng.random(shape) < 0.3, np.copysign(limit, drawn), drawn)


@given(seeds, st.integers(1, 40))
def test_a_product_at_its_limits_is_that_of_whole_numbers(seed: int, rows: int) -> None:
    one, two = integers(seed, 2.0**28, rows, 256), integers(seed + 1, 2.0**12, 256, 5)
    whole = one.astype(np.int64).astype(object) @ two.astype(np.int64).astype(object)
    assert (one @ two).astype(np.int64).astype(object).tolist() == whole.tolist()


@given(seeds, st.integers(1, 30))
def test_every_row_is_computed_as_if_alone(seed: int, rows: int) -> None:
    residual = integers(seed, 2.0**30, rows, 64)
    normed = exact.rms_norm(residual)
    gated = exact.swiglu(normed, np.roll(normed, 1, axis=1))
    for row in range(rows):
        alone = exact.rms_norm(residual[row : row + 1])
        assert alone.tobytes() == normed[row].tobytes()
        assert exact.swiglu(alone, np.roll(alone, 1, axis=1)).tobytes() == gated[row].tobytes()


@given(st.lists(st.floats(-60, 0), min_size=1, max_size=50))
def test_powers_of_two_are_right_to_twelve_digits(values: list[float]) -> None:
    found = exact.exp2(np.array(values))
    assert np.allclose(found, np.exp2(values), rtol=1e-12, atol=0)


def test_it_is_the_usual_arithmetic() -> None:
    rng = np.random.default_rng(3)
    real = rng.normal(size=(9, 64))
    normed = exact.rms_norm(np.rint(real * ONE)) / ONE
    assert np.allclose(normed, real / np.sqrt((real**2).mean(axis=-1, keepdims=True)), atol=1e-4)
    gate, up = real[:, :32], real[:, 32:]
    gated = exact.swiglu(np.rint(gate * ONE), np.rint(up * ONE)) / ONE
    assert np.allclose(gated, gate / (1 + np.exp(-gate)) * up, atol=1e-6)


def test_attention_weights_are_a_softmax_over_what_is_seen() -> None:
    scores = np.rint(np.random.default_rng(4).normal(size=(2, 3, 7)) * 2.0**36)
    seen = np.arange(7) <= np.array([4, 5, 6])[:, None]
    weights = exact.softmax_weights(scores, seen, 2.0**-36)
    assert (weights[:, ~seen] == 0).all()
    expected = np.where(seen, np.exp2(scores * 2.0**-36), 0)
    expected /= expected.sum(axis=-1, keepdims=True)
    assert np.allclose(weights / weights.sum(axis=-1, keepdims=True), expected, atol=1e-6)


def test_16_bit_values_saturate() -> None:
    kv = exact.as_kv(np.array([100 * ONE, -100 * ONE, ONE, -ONE / 4096]))
    assert kv.tolist() == [32767, -32768, 4096, -1]
