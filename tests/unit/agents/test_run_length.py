"""How long a run is going to take."""

from __future__ import annotations

import math

import pytest

from agents.capacity import MachineLimits
from agents.costing.costs import REFERENCE
from agents.costing.kept import Known
from agents.forecast import forecast
from agents.foreseen import figures
from agents.run_length import mean_turn_s, run_lengths
from testbed.fidelity.calibration import BUDGET_S
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
        lay_down_s = length.warm_up_s - max(5.0, 3 * turn_s) - found.prediction.service_s
        assert 0 < lay_down_s < 1
        assert length.ready_s == pytest.approx(REFERENCE.load_s + 5 * REFERENCE.program_s / 2)
        assert length.length_s == pytest.approx(sum(length))
    assert lengths["pe-only"].length_s > lengths["shorter-queue"].length_s


def test_a_run_ends_with_its_last_trajectory_if_that_is_sooner() -> None:
    whole = {"workload.start": "cold", "workload.sessions": "one", "workload.agents": "4"}
    scenario = shipped("demo", **whole, duration="1h")
    found = forecast(scenario, site(scenario))
    for name, length in run_lengths(scenario, found, REFERENCE, cores=2).items():
        turns = 4 * found.means.session_turns
        assert length.warm_up_s + length.window_length_s == pytest.approx(
            max(
                turns / found.prediction.policies[name].turns_per_s,
                found.means.session_turns * found.prediction.service_s,
            )
        )
        assert length.drain_s == 0


def test_agents_that_enter_midway_have_half_a_trajectory_left() -> None:
    one = {"workload.sessions": "one", "workload.agents": "4"}
    ends_s = []
    for start in ("cold", "warm"):
        scenario = shipped("demo", **one, **{"workload.start": start}, duration="1h")
        found = forecast(scenario, site(scenario))
        length = run_lengths(scenario, found, REFERENCE, cores=2)["pe-only"]
        laid_down_s = found.preload_bytes / 2**30 * REFERENCE.check_s_per_gib
        idle_s = found.prediction.service_s if start == "warm" else 0.0
        ends_s.append(length.warm_up_s + length.window_length_s - laid_down_s - idle_s)
    turns = found.means.session_turns
    assert ends_s[1] / ends_s[0] == pytest.approx((turns + 1) / 2 / turns, rel=1e-6)


def test_calibration_is_a_part_of_the_whole() -> None:
    lengths = {}
    for calibration in ("true", "false"):
        scenario = shipped("demo", calibration=calibration)
        found = forecast(scenario, site(scenario))
        limits = MachineLimits(2, 0.7, 64e9)
        foreseen = figures(scenario, found, Known(REFERENCE, None, None, "tried"), limits)
        parts = sum(policy["length_s"] for policy in foreseen["policies"].values())
        assert foreseen["length_s"] == pytest.approx(parts + foreseen["calibration_s"])
        lengths[calibration] = foreseen["calibration_s"]
    assert lengths["false"] == 0 < lengths["true"] <= BUDGET_S
