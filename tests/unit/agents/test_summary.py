"""The figures of a policy: their window, and what there is without one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agents.recorded import Run
from agents.records import RequestRecord
from agents.settings import DualPathScenario
from agents.summary import summarise
from testbed.experiment.scenario import load_scenario
from testbed.plan.model import Plan
from tests.unit.agents.test_checks import SCENARIO
from tests.unit.agents.test_fidelity_checks import plan, request, saturated, scenario

__all__ = ["plan", "scenario"]


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


def test_rates_are_of_bits_and_of_turns_that_ended(scenario: DualPathScenario, plan: Plan) -> None:
    """1000 reads of 122 kB in ten seconds, at a scale of 4000."""
    run = saturated(scenario, plan)
    ended = [msgspec.structs.replace(r, t_done=r.t_read_end) for r in run.of(RequestRecord)]
    records = {**run.records, RequestRecord: ended}
    found = summarise(Run(scenario, plan, "pe-only", records, run.samples, run.fields))
    assert found["kv_load_bps"] == pytest.approx(97.6e6)
    assert found["kv_load_bps_full_scale"] == pytest.approx(97.6e6 * 4000)
    assert found["interval_kv_load_bps"] == [pytest.approx(97.6e6), pytest.approx(97.6e6)]
    assert found["turns_per_s"] == pytest.approx(99.9)  # the last ends as the window closes
    assert (found["bound_by"], found["steady"]) == ("storage", True)
    assert found["hit_rate"] == 1.0
    assert found["path_share"] == {"pe": 1.0, "de": 0.0}


def test_time_per_token_is_of_those_after_the_first_where_decoding_takes_time(
    scenario: DualPathScenario, plan: Plan
) -> None:
    served = [
        request(request=1, generate_tokens=11, t_decode_start=2.0, t_decode_end=3.0),
        request(request=2, generate_tokens=1, t_decode_start=2.0, t_decode_end=3.0),
        request(request=3, generate_tokens=5, t_decode_start=2.0, t_decode_end=12.0),
    ]
    records = {RequestRecord: served}
    samples = saturated(scenario, plan).samples

    def tpot(of: DualPathScenario) -> Any:
        fields = {"open_s": 0.0, "close_s": 10.0}
        return summarise(Run(of, plan, "pe-only", records, samples, fields))["tpot_s"]["mean"]

    assert tpot(scenario) is None
    assert tpot(scenario.model_copy(update={"engines": "modelled"})) == pytest.approx(0.1)
