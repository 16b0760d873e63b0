"""Batch means: one rule, what it promises of independent values, and what of dependent ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.results.intervals import (
    BATCHES,
    Floats,
    Interval,
    batch_means,
    batch_medians,
    batches,
    lag1,
)
from testbed.results.statistics import median

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=60)


def autoregressive(rho: float, length: int, rng: np.random.Generator) -> Floats:
    """Gaussian, around 0; each value is rho times the one before it, and noise."""
    series = np.zeros(length)
    series[0] = rng.normal() / np.sqrt(1 - rho**2)
    for n in range(1, length):
        series[n] = rho * series[n - 1] + rng.normal()
    return series


def covered(rho: float, length: int, times: int = 500) -> float:
    rng = np.random.default_rng(5)
    series = [autoregressive(rho, length, rng) for _ in range(times)]
    return float(np.mean([batch_means(each).holds(0.0) for each in series]))


@given(VALUES)
def test_the_mean_is_inside_and_is_that_of_all_values(values: list[float]) -> None:
    found = batch_means(values)
    assert found.low is not None and found.high is not None
    assert found.value == pytest.approx(np.mean(values), abs=1e-6)
    assert found.low <= found.value <= found.high
    assert (found.confidence, found.count) == (0.95, len(values))
    assert 4 <= len(batches(values)) <= min(BATCHES, len(values))


@given(VALUES, st.floats(-1e3, 1e3), st.floats(0.1, 10))
def test_other_units_give_the_same_interval(values: list[float], add: float, times: float) -> None:
    changed = [add + times * value for value in values]
    one, other = batch_means(values), batch_means(changed)
    assert one.low is not None and other.low is not None
    if len(batches(values)) == len(batches(changed)):  # else the correlation was at its limit
        assert other.low == pytest.approx(add + times * one.low, abs=1e-3)


@pytest.mark.parametrize("length", [10, 15, 60])
def test_of_independent_values_it_covers_the_truth_as_often_as_it_says(length: int) -> None:
    assert covered(0.0, length) == pytest.approx(0.95, abs=0.03)  # three standard errors


@pytest.mark.parametrize(
    ("rho", "length", "said"), [(0.3, 60, 0.94), (0.6, 60, 0.90), (0.8, 60, 0.83), (0.8, 200, 0.92)]
)
def test_of_dependent_values_it_covers_the_truth_as_the_module_says(
    rho: float, length: int, said: float
) -> None:
    assert covered(rho, length) == pytest.approx(said, abs=0.05)


def test_as_if_they_were_independent_they_would_be_covered_far_too_seldom() -> None:
    rng = np.random.default_rng(5)
    held = []
    for _ in range(300):
        series = autoregressive(0.8, 60, rng)
        held.append(abs(series.mean()) <= 2 * series.std(ddof=1) / np.sqrt(len(series)))
    assert np.mean(held) < 0.65


def waits(rho: float, length: int, rng: np.random.Generator) -> Floats:
    """Log-normal with a median of 1, as waits in a queue are: skewed, and like those before."""
    return np.exp(0.5 * np.sqrt(1 - rho**2) * autoregressive(rho, length, rng))


@pytest.mark.parametrize(("rho", "length", "said"), [(0.0, 100, 0.95), (0.8, 400, 0.92)])
def test_medians_of_waits_are_held_as_often_as_means_are(
    rho: float, length: int, said: float
) -> None:
    rng = np.random.default_rng(6)
    held = [batch_medians(waits(rho, length, rng)).holds(1.0) for _ in range(400)]
    assert np.mean(held) == pytest.approx(said, abs=0.05)


def test_the_bootstrap_would_hold_medians_of_waits_far_too_seldom() -> None:
    rng = np.random.default_rng(6)
    held = [median(waits(0.8, 100, rng).tolist()).holds(1.0) for _ in range(60)]
    assert np.mean(held) < 0.75


@given(VALUES)
def test_a_median_is_that_of_all_values_and_inside(values: list[float]) -> None:
    found = batch_medians(values)
    assert found.low is not None and found.high is not None
    assert found.value == np.median(values)
    assert found.low <= found.value <= found.high


def test_ten_batches_have_students_t_with_nine_degrees_of_freedom() -> None:
    """Standard deviation sqrt(10/9), and t of 2.262: of a table of the t distribution."""
    found = batch_means([-1.0, 1.0] * 5)
    assert found.high == pytest.approx(2.262157 * np.sqrt(10 / 9) / np.sqrt(10))
    assert found.low == pytest.approx(-found.high)


def test_batches_that_are_alike_are_joined() -> None:
    """A slow swing: neighbouring batches say the same twice."""
    swing = np.sin(np.linspace(0, 2 * np.pi, 40))
    assert len(batches(swing)) == 5
    shuffled = np.random.default_rng(1).permutation(swing)
    assert len(batches(shuffled)) == 10
    wide, narrow = batch_means(swing).width, batch_means(shuffled).width
    assert wide is not None and narrow is not None and wide > narrow


def test_equal_values_have_no_width_and_few_have_no_interval() -> None:
    assert batch_means([5.0] * 100) == Interval(5.0, 5.0, 5.0, 0.95, 100)
    assert lag1(batches([5.0] * 10)) == 0.0
    assert batch_means([1.0, 3.0, 2.0]) == Interval(2.0, None, None, None, 3)
    assert batch_means([1.0, 3.0, 2.0, 2.0]).width is not None


@pytest.mark.parametrize("data", [[], [1.0, np.nan], [np.inf]])
def test_what_no_mean_follows_from_is_refused(data: list[float]) -> None:
    with pytest.raises(ValueError, match="value"):
        batch_means(data)
