from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.errors import UsageError
from testbed.experiment.repeats import derived_seeds, planned

light = settings(max_examples=30)
policies = st.lists(st.sampled_from("ABCDE"), min_size=1, max_size=5, unique=True)


def test_policies_take_turns_a_b_b_a() -> None:
    orders = ["".join(each.order) for each in planned(1, ["A", "B"], 4)]
    assert "".join(orders) == "ABBAABBA"


@light
@given(policies, st.integers(1, 6))
def test_over_pairs_of_repeats_every_policy_runs_as_late_as_the_others(
    variants: list[str], pairs: int
) -> None:
    times: Counter[str] = Counter()
    order = [name for each in planned(1, variants, 2 * pairs) for name in each.order]
    for moment, name in enumerate(order):
        times[name] += moment
    assert len(set(times.values())) == 1


@light
@given(st.integers(0, 2**40), st.integers(1, 20))
def test_seeds_differ_begin_with_the_scenarios_and_go_on_alike(seed: int, times: int) -> None:
    seeds = derived_seeds(seed, times)
    assert len(set(seeds)) == times
    assert seeds[0] == seed
    assert derived_seeds(seed, times + 3)[:times] == seeds


def test_derived_seeds_stay_what_they_are() -> None:
    # Sets that are written somewhere were made with these.
    assert derived_seeds(1, 3) == [1, 1189033389, 1596810411]


def test_no_repeats_are_refused() -> None:
    with pytest.raises(UsageError, match="0 repeats"):
        planned(1, ["A"], 0)
