from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.fidelity.batch_means import batch_means

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=40)


@given(VALUES)
def test_the_mean_is_inside_and_is_that_of_all_values(values: list[float]) -> None:
    found = batch_means(values)
    assert found is not None
    assert found.mean == pytest.approx(np.mean(values), abs=1e-6)
    assert found.low <= found.mean <= found.high
    assert 4 <= found.batches <= len(values)


@given(VALUES, st.floats(-1e3, 1e3), st.floats(0.1, 10))
def test_other_units_give_the_same_interval(values: list[float], add: float, times: float) -> None:
    one, other = batch_means(values), batch_means([add + times * value for value in values])
    assert one is not None and other is not None
    if one.batches == other.batches:  # else the correlation was just at its limit
        assert other.low == pytest.approx(add + times * one.low, abs=1e-3)


def test_it_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(7)
    covered = 0
    for _ in range(400):
        found = batch_means(generator.normal(3.0, 1.0, 10))
        assert found is not None
        covered += found.low <= 3.0 <= found.high
    assert 0.91 <= covered / 400 <= 0.98


def test_batches_that_are_alike_are_joined() -> None:
    """A slow swing: neighbouring batches say the same twice."""
    swing = np.sin(np.linspace(0, 2 * np.pi, 40))
    found = batch_means(swing)
    assert found is not None
    assert found.batches < 40
    narrow = batch_means(np.random.default_rng(1).permutation(swing))
    assert narrow is not None
    assert found.high - found.low > narrow.high - narrow.low


def test_equal_batches_have_no_width_and_few_have_no_interval() -> None:
    found = batch_means([5.0] * 10)
    assert found is not None
    assert (found.low, found.mean, found.high, found.correlation) == (5.0, 5.0, 5.0, 0.0)
    assert batch_means([1.0, 2.0, 3.0]) is None
