from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed import interrupts
from testbed.errors import UsageError
from testbed.experiment import record, repeats
from testbed.experiment.record import Asked, Finished
from testbed.experiment.repeats import derived_seeds, planned
from testbed.experiment.scenario import Scenario, TopologyChoice

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


def test_a_signal_in_what_does_not_wait_is_heeded_before_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def execute(asked: Asked, out: Path, *_: Any, **__: Any) -> Finished:
        with interrupts.held():
            interrupts.check()  # as bringing up does
            signal.raise_signal(signal.SIGINT)  # while tables are written
            made.append(asked.scenario.seed)
            return Finished(out, SimpleNamespace(interrupted=False))  # type: ignore[arg-type]

    monkeypatch.setattr(record, "execute", execute)
    scenario = Scenario(name="tiny", topology=TopologyChoice(name="single"), duration=1.0)
    workload = SimpleNamespace(variants=lambda _: ["a"])
    before = {each: signal.signal(each, signal.default_int_handler) for each in interrupts.SIGNALS}
    try:
        with pytest.raises(KeyboardInterrupt) as ended, interrupts.heeded():
            asked = Asked(scenario, workload)  # type: ignore[arg-type]
            repeats.repeat(asked, tmp_path, 3, [], lambda _: None)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert made == [scenario.seed]
    assert "1 of 3 runs of the set" in ended.value.__notes__[0]
