"""Job times: equivalents by the rate of turns, whole trajectories by their ends; what is served."""

from __future__ import annotations

import pytest

from agents.job_time import EVERY, whole_jobs
from agents.online import PARTS, Point, served
from agents.settings import DualPathScenario
from testbed.experiment import record
from testbed.experiment.estimates import exactly
from testbed.experiment.scenario import load_scenario


def point(aps: float, ttft_s: float, tpot_s: float = 0.01) -> Point:
    found = [exactly(each) for each in (aps, ttft_s, ttft_s, tpot_s, 100.0)]
    return Point(*found, dict.fromkeys(PARTS, 1.0))


def test_what_is_served_within_an_slo_lies_between_loads() -> None:
    loads = [point(0.1, 1.0), point(0.2, 2.0), point(0.3, 6.0)]
    assert served(loads, 4.0, 0.05) == pytest.approx(0.25)
    assert served(loads[:2], 4.0, 0.05) == 0.2  # more may be possible
    assert served(loads, 0.5, 0.05) is None
    at_tpot = served([point(0.1, 1.0), point(0.2, 1.0, 0.075)], 4.0, 0.05)
    assert at_tpot == pytest.approx(0.16)
    assert served([Point(None, None, None, None, None, {})], 4.0, 0.05) is None


@pytest.mark.parametrize("size", ["medium", "full"])
def test_whole_jobs_make_a_scenario_that_is_right(size: str) -> None:
    changes = whole_jobs(size)  # type: ignore[arg-type]
    overrides = {key: str(value).replace("'", '"') for key, value in changes.items()}
    scenario = record.load("2p4d-small", overrides).scenario
    assert isinstance(scenario, DualPathScenario)
    assert scenario.workload.sessions == "one" and scenario.workload.every == EVERY[size]  # type: ignore[index]
    assert not whole_jobs("quick")


@pytest.mark.parametrize(
    "workload",
    [
        "{every: 2}",
        "{every: 2, start: cold}",
        "{enter: steady, start: cold}",
        "{enter: steady, arrivals: {rate: 1/s}}",
        "{sessions: one, arrivals: {rate: 1/s}}",
    ],
)
def test_what_does_not_go_together_is_refused(workload: str) -> None:
    text = f"name: made\ntopology: {{name: 1p1d}}\nduration: 10s\nworkload: {workload}\n"
    with pytest.raises(Exception, match=r"every|enter|sessions"):
        load_scenario(text, DualPathScenario)
