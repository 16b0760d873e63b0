"""Policies beside each other: the first is what the others are compared with."""

from __future__ import annotations

import math
from typing import Any

import pytest

from agents.comparison import comparison
from agents.settings import DualPathScenario
from testbed.experiment.scenario import load_scenario
from testbed.experiment.workload import Outcome
from tests.unit.agents.test_checks import SCENARIO

PREDICTION: dict[str, Any] = {
    "policies": {
        "pe-only": {"kv_load_bps": 1e8, "speedup": 1.0, "bound_by": "pe-snic-in", "binds": "pe"},
        "de-only": {"kv_load_bps": 2e8, "speedup": 2.0, "bound_by": "de-snic-in", "binds": "de"},
    },
    "caps_turns_per_s": {"pe-snics": 10.0, "pcie": math.inf},
}


def outcome(load_bps: float | None, turns_per_s: float | None, verified: int = 5) -> Outcome:
    summary = {"kv_load_bps": load_bps, "turns_per_s": turns_per_s, "bytes_verified": verified}
    return Outcome(summary, {}, None, [], {})


def compared(**outcomes: Outcome) -> dict[str, Any]:
    scenario = load_scenario(SCENARIO, DualPathScenario)
    named = {name.replace("_", "-"): each for name, each in outcomes.items()}
    return comparison(scenario, PREDICTION, named)


def test_speed_ups_are_over_the_first_policy() -> None:
    found = compared(pe_only=outcome(9e7, 8.0), de_only=outcome(1.8e8, 20.0))
    assert found["speedup"]["pe-only"] == {"kv_load_bps": 1.0, "turns_per_s": 1.0}
    assert found["speedup"]["de-only"] == {"kv_load_bps": 2.0, "turns_per_s": 2.5}
    assert found["bytes_verified"] == 10
    assert found["predicted"]["de-only"]["speedup"] == 2.0


@pytest.mark.parametrize("first", [None, 0.0])
def test_over_nothing_there_is_none(first: float | None) -> None:
    found = compared(pe_only=outcome(first, 8.0), de_only=outcome(1.8e8, None))
    assert found["speedup"]["de-only"] == {"kv_load_bps": None, "turns_per_s": None}


def test_a_cap_that_limits_nothing_is_null_and_the_scale_is_what_came_of_it() -> None:
    found = compared(pe_only=outcome(9e7, 8.0))
    assert found["caps_turns_per_s"] == {"pe-snics": 10.0, "pcie": None}
    scale = found["scale"]
    assert (scale["rate"], scale["bytes"]) == (4000, 4000)
    assert scale["bytes_realised"] == pytest.approx(4000, rel=0.05)
    assert scale["stretch"] == pytest.approx(4000 / scale["bytes_realised"])
    assert "modelled_speedup" not in found
