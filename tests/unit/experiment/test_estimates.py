"""Rates of a window with intervals; ratios and several runs together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.experiment import estimates
from testbed.results.intervals import Interval, batch_means


def test_a_rate_counts_what_happened_in_the_window() -> None:
    found = estimates.rate(np.arange(0.05, 20, 0.1), (5.0, 15.0))
    assert found is not None and found.value == pytest.approx(10.0)
    weighed = estimates.rate([6.0, 7.0, 99.0], (5.0, 15.0), [30.0, 70.0, 1000.0])
    assert weighed is not None and weighed.value == pytest.approx(10.0)
    assert estimates.rate([1.0, 2.0], (5.0, 15.0)) is None


@given(
    st.lists(st.tuples(st.floats(0, 30), st.floats(0, 8), st.floats(1, 9)), min_size=1, max_size=9)
)
def test_what_arrives_over_a_while_counts_with_its_part_in_the_window(
    transfers: list[tuple[float, float, float]],
) -> None:
    first, took, size = (np.array(column) for column in zip(*transfers, strict=True))
    found = estimates.arrival_rate(first, first + took, size, (0.0, 60.0))
    assert found is not None
    assert found.value * 60 == pytest.approx(size.sum())  # all of it arrives in there


def test_the_interval_of_a_ratio_is_wider_than_either_relatively() -> None:
    ours, theirs = Interval(3.0, 2.9, 3.1, 0.95, 60), Interval(2.0, 1.9, 2.1, 0.95, 60)
    found = estimates.ratio(ours, theirs)
    assert found is not None and found.value == 1.5
    assert found.low is not None and found.high is not None
    assert found.low < 1.5 / 1.05 and found.high > 1.5 * 1.05
    assert estimates.ratio(ours, None) is None
    assert estimates.ratio(ours, Interval(0.0, None, None, None, 1)) is None


def test_a_calculated_figure_beside_a_measured_one_widens_nothing() -> None:
    found = estimates.ratio(Interval(3.0, 2.9, 3.1, 0.95, 60), estimates.exactly(2.0))
    assert found is not None and found.low is not None and found.high is not None
    assert found.high / found.low == pytest.approx(np.exp(2 * 0.1 / 3.0))


def test_a_rate_becomes_a_time_with_its_ends_swapped() -> None:
    found = estimates.inverse(Interval(4.0, 2.0, 8.0, 0.95, 60), 16.0)
    assert found == Interval(4.0, 2.0, 8.0, 0.95, 60)
    assert estimates.inverse(Interval(0.0, None, None, None, 1)) is None
    assert estimates.scaled(found, 0.5) == Interval(2.0, 1.0, 4.0, 0.95, 60)


def test_one_run_keeps_its_interval_and_several_have_that_of_their_median() -> None:
    one = Interval(4.0, 2.0, 8.0, 0.95, 60)
    assert estimates.together([None, one]) == one
    assert estimates.together([None]) is None
    three = estimates.together([estimates.exactly(value) for value in (1.0, 2.0, 9.0)])
    assert three is not None and three.value == 2.0 and three.count == 3


def test_too_few_values_for_an_interval_leave_a_ratio_without_one() -> None:
    found = estimates.ratio(Interval(3.0, None, None, None, 3), Interval(2.0, 1.9, 2.1, 0.95, 60))
    assert found is not None and found.value == 1.5 and found.low is None


def seen(rng: np.random.Generator, truth: float, deviation: float) -> Interval:
    """A mean of 60 values, with its interval."""
    return batch_means(rng.normal(truth, deviation, size=60))


@pytest.mark.parametrize("deviations", [(1, 1, 1), (1, 1, 5), (1, 2, 4)])
def test_the_surest_of_three_holds_the_truth_as_often_as_it_says(
    deviations: tuple[float, ...],
) -> None:
    rng = np.random.default_rng(7)
    found = [
        estimates.surest([seen(rng, 10, deviation) for deviation in deviations]) for _ in range(600)
    ]
    assert {each.confidence for each in found if each is not None} == {estimates.CHOSEN}
    held = np.mean([each is not None and each.holds(10) for each in found])
    assert held > estimates.CHOSEN - 3 * 0.0123  # three standard errors


def test_one_estimate_is_not_chosen_and_none_is_none() -> None:
    one = Interval(4.0, 2.0, 8.0, 0.95, 60)
    assert estimates.surest([None, one, None]) == one
    assert estimates.surest([None]) is None
    vague = Interval(4.0, None, None, None, 3)
    found = estimates.surest([vague, one])
    assert found is not None and (found.low, found.confidence) == (2.0, estimates.CHOSEN)


def test_ratios_hold_the_true_one_as_often_as_they_say() -> None:
    rng = np.random.default_rng(8)
    within = [estimates.ratio(seen(rng, 10, 2), seen(rng, 5, 1)) for _ in range(600)]
    held = np.mean([each is not None and each.holds(2.0) for each in within])
    assert held == pytest.approx(0.95, abs=0.03)
    runs = rng.lognormal(0, 0.05, size=(150, 2, 3))
    of_three = [
        estimates.ratio(*(estimates.together(list(map(estimates.exactly, side))) for side in one))
        for one in runs.tolist()
    ]
    assert {each.confidence for each in of_three if each is not None} == {0.75}
    held = np.mean([each is not None and each.holds(1.0) for each in of_three])
    assert 0.75 - 3 * 0.036 < held < 0.75 + 3 * 0.036


def test_medians_of_a_window_have_an_interval_if_there_are_enough_values() -> None:
    found = estimates.median_of(np.arange(41.0) % 7)
    assert found is not None and found.value == 3.0 and found.count == 41
    few = estimates.median_of([1.0, 5.0, 2.0])
    assert few is not None and (few.value, few.low) == (2.0, None)
    assert estimates.median_of([]) is None
