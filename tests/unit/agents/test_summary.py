"""The figures of a policy: their window, and what there is without one."""

from __future__ import annotations

from typing import Any

import pytest

from agents.recorded import Run
from agents.settings import DualPathScenario
from agents.summary import summarise
from testbed.experiment.scenario import load_scenario
from testbed.plan.model import Plan
from tests.unit.agents.test_checks import SCENARIO


def run(fields: dict[str, Any], interrupted_s: float | None = None) -> Run:
    scenario = load_scenario(SCENARIO, DualPathScenario)
    return Run(scenario, Plan(frozenset(), "1p1d"), "pe-only", {}, [[]], fields, interrupted_s)


@pytest.mark.parametrize(
    ("fields", "interrupted_s", "window"),
    [
        ({"open_s": 2.0, "close_s": 5.0}, None, (2.0, 5.0)),
        ({"open_s": 2.0, "close_s": None}, 4.0, (2.0, 4.0)),  # Ctrl-C inside the window
        ({"open_s": 2.0, "close_s": 5.0}, 6.0, (2.0, 5.0)),  # while it drained
        ({"open_s": None, "close_s": None}, 4.0, None),  # during warm-up
        ({}, 4.0, None),  # before the client said anything
        ({"open_s": None, "close_s": 5.0}, None, None),  # the trace ended first
        ({"open_s": 5.0, "close_s": 5.0}, None, None),
    ],
)
def test_the_window_closes_when_the_client_says_so_or_the_user_does(
    fields: dict[str, Any], interrupted_s: float | None, window: tuple[float, float] | None
) -> None:
    assert run(fields, interrupted_s).window == window


def test_without_a_window_its_figures_are_null_and_not_missing() -> None:
    found = summarise(run({}, 4.0))
    assert list(found) == list(summarise(run({"open_s": 2.0, "close_s": 5.0})))
    assert found["window_s"] is None
    nulls = {name for name, value in found.items() if value is None}
    assert {"kv_load_bps", "ttft_s", "path_share", "nic_loads", "turns_per_s_full_scale"} <= nulls
    assert found["events"] == 0
