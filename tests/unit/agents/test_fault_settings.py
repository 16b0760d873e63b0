"""Faults of a scenario: what is refused, and the timetable they become."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from agents.fault_settings import Fault, check_times, misplaced, timetable
from agents.faults import OF_PROCESSES, Step
from agents.settings import DualPathScenario
from agents.workload import DualPath
from testbed.errors import ScenarioError
from testbed.experiment.scenario import load_scenario

SCENARIO = """
name: faulty
topology: {{name: dualpath, set: {{gpus: 1, prefill: 2}}}}
scale: {{rate: 4000, bytes: 4000}}
duration: 3s
engines: network-only
workload: {{kind: agentic, trace: 32k, agents: 2}}
window: {{warm_up: 1s}}
scheduler: {{{scheduler}}}
faults: [{faults}]
"""
ROLES = {"prefill": ["pe0", "pe1"], "decode": ["de0"], "storage": ["st0"]}


def scenario(faults: str, scheduler: str = "") -> DualPathScenario:
    return load_scenario(SCENARIO.format(faults=faults, scheduler=scheduler), DualPathScenario)


def test_a_timetable_is_in_order_and_says_how_faults_end() -> None:
    faults = [
        Fault(at=3.0, kind="kill", node="de0"),
        Fault(at=1.0, kind="stop", node="pe0", lasts=0.5),
        Fault(at=2.0, kind="restart-scheduler"),
        Fault(at=0.5, kind="forget-blocks", node="st0", share=0.25),
    ]
    assert timetable(faults) == [
        Step(0.5, "forget", "st0", 0.25),
        Step(1.0, "stop", "pe0"),
        Step(1.5, "resume", "pe0"),
        Step(2.0, "kill", "sched"),
        Step(2.0, "start", "sched"),
        Step(3.0, "kill", "de0"),
    ]
    assert {step.action for step in timetable(faults)} - OF_PROCESSES == {"forget"}


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"kind": "kill"}, "kill needs a node"),
        ({"kind": "restart-scheduler", "node": "sched"}, "has no node"),
        ({"kind": "kill", "node": "pe0", "lasts": 1.0}, "is for good"),
        ({"kind": "stop", "node": "pe0", "share": 0.5}, "only forget-blocks"),
        ({"kind": "explode", "node": "pe0"}, "'stop', 'kill'"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(fields: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Fault.model_validate({"at": 1.0, **fields})


@pytest.mark.parametrize(
    ("faults", "why"),
    [
        ("{at: 5s, kind: kill, node: pe0}", "kill of pe0 at 5s: the run may be over after 4s"),
        ("{at: 3s, kind: stop, node: pe0, lasts: 2s}", "stop of pe0 at 5s: the run may be over"),
        (
            "{at: 2s, kind: kill, node: pe0}, {at: 3s, kind: stop, node: pe0}",
            "stop of pe0 at 3s: by then it is gone",
        ),
        (
            "{at: 1s, kind: restart-scheduler, lasts: 1s}, {at: 1500ms, kind: restart-scheduler}",
            "restart-scheduler of sched at 1.5s: it is not back yet",
        ),
    ],
)
def test_faults_that_cannot_come_are_refused(faults: str, why: str) -> None:
    with pytest.raises(ScenarioError, match=why):
        scenario(faults)


def test_schedulers_cannot_follow_each_other_for_ever() -> None:
    often = [Fault(at=float(n), kind="restart-scheduler") for n in range(16)]
    check_times(often[:15], 16.0)
    with pytest.raises(ValueError, match="16 restarts of the scheduler: at most 15"):
        check_times(often, 16.0)


def test_nodes_that_report_less_often_than_is_allowed_are_not_called_lost() -> None:
    seldom = "silent_after: 1s, fetch_period: 300ms"
    for faults in ("", "{at: 1s, kind: stop, node: pe0}"):
        scenario(faults, "silent_after: 1300ms, fetch_period: 300ms")
        with pytest.raises(ScenarioError, match="less than 4 fetch periods"):
            scenario(faults, seldom)


@pytest.mark.parametrize(
    ("kind", "node", "wrong"),
    [
        ("stop", "pe1", ""),
        ("kill", "st0", ""),
        ("kill", "sched", "kill of 'sched': there are pe0, pe1, de0, st0"),
        ("fill-storage", "de0", "fill-storage of 'de0': there are st0"),
    ],
)
def test_faults_are_of_nodes_that_are_there(kind: str, node: str, wrong: str) -> None:
    assert misplaced(Fault.model_validate({"at": 1.0, "kind": kind, "node": node}), ROLES) == wrong


def test_a_prediction_refuses_a_node_that_the_topology_does_not_have() -> None:
    workload = DualPath()
    asked = scenario("{at: 1s, kind: kill, node: pe1}, {at: 1s, kind: kill, node: pe7}")
    plan = workload._plan(asked)
    with pytest.raises(ScenarioError, match=r"faults\[1\]: kill of 'pe7': there are pe0, pe1"):
        workload.predict(asked, plan)


def test_nodes_count_as_lost_after_a_generous_silence() -> None:
    assert scenario("").silent_after_s == 5.0
    assert scenario("", "fetch_period: 1s").silent_after_s == 20.0
    assert scenario("", "silent_after: 500ms").silent_after_s == 0.5
    check_times([Fault(at=4.0, kind="kill", node="pe0")], 4.0)
