from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.results.statistics import change, median

values = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=12)
positive = st.lists(st.floats(0.5, 1e6), min_size=2, max_size=8)
light = settings(max_examples=25)


@light
@given(values)
def test_the_interval_of_a_median_holds_it_and_stays_inside_the_range(data: list[float]) -> None:
    found = median(data)
    assert found.low is not None and found.high is not None
    assert min(data) <= found.low <= found.value <= found.high <= max(data)
    assert found.value == np.median(data)
    assert found.count == len(data)


@light
@given(positive, st.floats(0.1, 10))
def test_a_median_goes_with_its_unit(data: list[float], factor: float) -> None:
    one, other = median(data), median([factor * each for each in data])
    assert one.low is not None and other.low is not None
    assert other.value == pytest.approx(factor * one.value)
    assert other.low == pytest.approx(factor * one.low)


def test_an_interval_claims_no_more_than_so_few_runs_can_say() -> None:
    # The median lies in the range of n values unless all of them are on one side of it.
    for count, sure in {2: 0.5, 3: 0.75, 5: 0.9375, 6: 0.95, 40: 0.95}.items():
        assert median([float(n) for n in range(count)]).confidence == sure
    assert median([1.0, 2.0, 4.0]).low == 1.0


def test_one_run_has_no_interval() -> None:
    found = median([7.0])
    assert (found.value, found.low, found.high, found.confidence) == (7.0, None, None, None)
    assert not found.holds(7.0)
    assert found.width is None


def test_rounding_puts_no_median_outside_its_interval() -> None:
    for data in ([-948912.1042789918] * 4, [-962518.8811985484] * 9 + [472343.00261899875]):
        found = median(data)
        assert found.holds(found.value)
        assert found.low == data[0]


def test_the_same_runs_have_the_same_interval() -> None:
    data = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0]
    assert median(data) == median(list(data))


@pytest.mark.parametrize("count", [3, 4, 6, 7, 9, 12, 15])
def test_intervals_hold_the_true_median_as_often_as_they_say(count: int) -> None:
    draws = np.random.default_rng(3).exponential(size=(300, count))
    found = [median(draw.tolist()) for draw in draws]
    (sure,) = {each.confidence for each in found}
    assert sure is not None
    held = np.mean([each.holds(math.log(2)) for each in found])
    assert held >= sure - 3 * math.sqrt(sure * (1 - sure) / len(found))


def test_an_interval_is_as_wide_as_order_statistics_ask() -> None:
    # Of nine, the second smallest and largest: 1 - 2 · (1 + 9) / 2^9 = 96 %.
    for count, inner in {6: 0, 8: 0, 9: 1, 12: 2}.items():
        found = median([float(n) for n in range(count)])
        assert found.low is not None and found.high is not None
        assert found.low <= inner and found.high >= count - 1 - inner


@pytest.mark.parametrize(("paired", "count"), [(True, 7), (True, 4), (False, 3), (False, 6)])
def test_the_ratio_of_two_sets_is_held_as_often_as_is_said(paired: bool, count: int) -> None:
    draws = np.random.default_rng(9).lognormal(0, 0.1, size=(200, 2, count))
    found = [change((1.2 * a).tolist(), b.tolist(), paired=paired).ratio for a, b in draws]
    (sure,) = {each.confidence for each in found if each is not None}
    assert sure is not None
    held = np.mean([each is not None and each.holds(1.2) for each in found])
    assert held >= sure - 3 * math.sqrt(sure * (1 - sure) / len(found))


@pytest.mark.parametrize("data", [[], [1.0, math.nan], [math.inf]])
def test_what_no_figure_follows_from_is_refused(data: list[float]) -> None:
    with pytest.raises(ValueError, match="value"):
        median(data)


# --- changes -----------------------------------------------------------------------------------


def test_six_pairs_that_all_grow_are_more_than_chance_and_five_are_not() -> None:
    mine, baseline = [2.0, 2.1, 2.2, 1.9, 2.05, 2.0], [1.0, 1.1, 1.0, 1.0, 1.0, 1.02]
    six = change(mine, baseline, paired=True)
    assert six.p_value == pytest.approx(2 / 2**6)
    assert six.significant() is True
    five = change(mine[:5], baseline[:5], paired=True)
    assert five.p_value == five.least_p == pytest.approx(2 / 2**5)
    assert five.significant() is None  # so few could not have told


def test_pairs_find_a_small_change_under_a_large_spread() -> None:
    rng = np.random.default_rng(2)
    baseline = rng.uniform(1, 10, size=10)
    mine = baseline * 1.05 * rng.uniform(0.99, 1.01, size=10)
    paired = change(mine.tolist(), baseline.tolist(), paired=True)
    apart = change(mine.tolist(), baseline.tolist(), paired=False)
    assert paired.significant() is True
    assert apart.significant() is False
    assert paired.ratio is not None and paired.ratio.holds(1.05)


def test_four_against_four_that_do_not_overlap_are_more_than_chance() -> None:
    found = change([5.0, 6.0, 7.0, 8.0], [1.0, 2.0, 3.0, 4.0], paired=False)
    assert found.p_value == pytest.approx(2 / math.comb(8, 4))
    assert found.significant() is True
    assert found.ratio is not None and found.ratio.value == 6.5 / 2.5


@light
@given(positive)
def test_a_set_beside_itself_is_no_change(data: list[float]) -> None:
    for paired in (True, False):
        found = change(data, data, paired=paired)
        assert found.ratio is not None and found.ratio.value == 1.0
        assert found.significant() is not True
        assert found.p_value is not None and found.p_value > 0.5


def test_chance_makes_a_difference_as_often_as_the_level_says() -> None:
    draws = np.random.default_rng(8).normal(10, 1, size=(150, 2, 6))
    found = [change(a.tolist(), b.tolist(), paired=True).significant() for a, b in draws]
    assert np.mean(found) <= 0.12  # 5 %, four standard errors


def test_what_is_not_positive_has_no_ratio() -> None:
    found = change([1.0, -1.0], [2.0, 2.0], paired=False)
    assert found.ratio is None
    assert found.p_value is not None


def test_single_runs_have_a_ratio_and_nothing_else() -> None:
    found = change([3.0], [2.0], paired=True)
    assert found.ratio is not None and (found.ratio.value, found.ratio.low) == (1.5, None)
    assert found.p_value is None and found.significant() is None


def test_pairs_have_to_be_complete() -> None:
    with pytest.raises(ValueError, match="no pairs"):
        change([1.0, 2.0], [1.0], paired=True)
