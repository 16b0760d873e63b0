"""How long a run is going to take."""

from __future__ import annotations

import math

import pytest

from agents.costing.costs import REFERENCE
from agents.forecast import forecast
from agents.run_length import mean_turn_s, run_lengths
from tests.unit.agents.test_scaling import shipped, site


def test_a_turn_takes_what_littles_law_says_and_no_less_than_alone() -> None:
    assert mean_turn_s(100, 20.0, 1.0, 0.0) == 5.0
    assert mean_turn_s(100, 20.0, 1.0, 2.0) == 3.0  # the agents think meanwhile
    assert mean_turn_s(1, 20.0, 1.0, 0.0) == 1.0
    assert mean_turn_s(1, math.inf, 1.0, 0.0) == 1.0


def test_the_parts_of_a_run() -> None:
    scenario = shipped("demo")
    found = forecast(scenario, site(scenario))
    lengths = run_lengths(scenario, found, REFERENCE, cores=2)
    assert list(lengths) == scenario.policies
    for name, length in lengths.items():
        turn_s = found.agents / found.prediction.policies[name].turns_per_s
        assert length.window_length_s == scenario.duration
        assert length.drain_s == pytest.approx(turn_s)
        lay_down_s = length.warm_up_s - max(5.0, 3 * turn_s)
        assert 0 < lay_down_s < 1
        assert length.ready_s == pytest.approx(5 * REFERENCE.program_s / 2)
        assert length.length_s == pytest.approx(sum(length))
    assert lengths["pe-only"].length_s > lengths["shorter-queue"].length_s
