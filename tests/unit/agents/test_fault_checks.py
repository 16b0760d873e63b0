"""Whether faults ended as they should, over records that say that they did, or did not."""

from __future__ import annotations

import pytest

from agents.checks import own_checks
from agents.fault_checks import faults_ended
from agents.recorded import Run
from agents.records import EventRecord
from agents.settings import DualPathScenario
from testbed.experiment.scenario import load_scenario
from testbed.plan.model import Plan

SCENARIO = """
name: faulty
topology: {{name: dualpath, set: {{gpus: 1, prefill: 2}}}}
scale: {{rate: 4000, bytes: 4000}}
duration: 9s
engines: network-only
workload: {{kind: agentic, trace: 32k, agents: 2}}
faults: [{faults}]
"""
KILL = "{at: 1s, kind: kill, node: pe1}"
STOP = "{at: 2s, kind: stop, node: pe0, lasts: 100ms}"
RESTART = "{at: 3s, kind: restart-scheduler}"


def run(faults: str, *events: tuple[str, str, str]) -> Run:
    """A run with these faults, in which these events were recorded: process, kind, detail."""
    scenario = load_scenario(SCENARIO.format(faults=faults), DualPathScenario)
    records = [EventRecord(who, float(n), kind, 0, what) for n, (who, kind, what)
               in enumerate(events)]  # fmt: skip
    return Run(scenario, Plan(frozenset(), "dualpath"), "pe-only", {EventRecord: records}, [], {})


KILLED = ("pe1", "fault", "kill")
LOST = ("sched", "node-lost", "pe1: lost the connection to pe1")


def test_faults_that_came_and_were_noticed_are_no_failure_but_are_remarked_upon() -> None:
    seen = run(KILL, KILLED, LOST)
    check = faults_ended(seen)
    assert check.ok
    assert check.measured == "1 of 1 carried out; lost: pe1"
    assert "1 faults were provoked" in check.remark
    assert seen.lost == ["pe1"]
    names = {check.name for check in own_checks(seen)}
    assert "every fault ended as it should" in names
    assert "steady window" not in names


@pytest.mark.parametrize(
    ("faults", "events", "why"),
    [
        (KILL, [], "the run was over before kill pe1 at 1s"),
        (KILL, [KILLED], "pe1 was killed, and nobody noticed"),
        (
            STOP,
            [("pe0", "fault", "stop"), ("pe0", "fault", "resume"), LOST],
            "pe1 was lost, and no fault asked for it",
        ),
        (
            RESTART,
            [("sched", "fault", "kill"), ("sched", "fault", "start")],
            "the scheduler came back 0 times of 1",
        ),
    ],
)
def test_faults_that_did_not_end_as_they_should_fail_the_run(
    faults: str, events: list[tuple[str, str, str]], why: str
) -> None:
    check = faults_ended(run(faults, *events))
    assert check.ok is False
    assert why in check.reason


def test_a_scheduler_that_came_back_is_not_lost() -> None:
    seen = run(
        RESTART,
        ("sched", "fault", "kill"),
        ("client", "scheduler-lost", ""),
        ("sched", "fault", "start"),
        ("client", "scheduler-back", ""),
    )
    assert faults_ended(seen).ok
    (foreseen,) = (check for check in own_checks(seen) if check.name == "nothing unforeseen")
    assert foreseen.ok


def test_a_loss_in_a_run_without_faults_is_unforeseen() -> None:
    (foreseen,) = (c for c in own_checks(run("", LOST)) if c.name == "nothing unforeseen")
    assert foreseen.ok is False
