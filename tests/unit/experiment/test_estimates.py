"""Rates of a window with intervals; ratios and several runs together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.experiment import estimates
from testbed.results.intervals import Interval


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
