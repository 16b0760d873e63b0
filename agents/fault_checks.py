"""Whether what went wrong on purpose ended as it should."""

from __future__ import annotations

from collections import Counter

from agents.fault_settings import timetable
from agents.recorded import Run
from agents.records import EventRecord
from testbed.fidelity.checks import Check

OF_FAULTS = frozenset(
    {"fault", "node-lost", "nothing-left", "put-lost", "scheduler-lost", "scheduler-back"}
)
"""Events that follow from faults; `faults_ended` looks at them."""


def faults_ended(run: Run) -> Check:
    """Every fault came, nobody was lost without one, and whoever was killed is known to be lost."""
    asked = timetable(run.scenario.faults)
    events = [e for e in run.of(EventRecord) if e.kind in OF_FAULTS]
    came = [e for e in events if e.kind == "fault"]
    lost = {e.detail.partition(":")[0] for e in events if e.kind == "node-lost"}
    halted = {step.target for step in asked if step.action in ("stop", "kill")}
    killed = {step.target for step in asked if step.action == "kill"}
    restarts = Counter(step.action for step in asked)["start"]
    back = sum(e.kind == "scheduler-back" for e in events)
    reasons = []
    if len(came) < len(asked):
        missing = ", ".join(f"{s.action} {s.target} at {s.at_s:g}s" for s in asked[len(came) :])
        reasons.append(f"the run was over before {missing}")
    if unforeseen := sorted(lost - halted):
        reasons.append(f"{', '.join(unforeseen)} was lost, and no fault asked for it")
    if unnoticed := sorted(killed - lost - _started(run)):
        reasons.append(f"{', '.join(unnoticed)} was killed, and nobody noticed")
    if back < restarts:
        reasons.append(f"the scheduler came back {back} times of {restarts}")
    return Check(
        "every fault ended as it should", run.variant, not reasons,
        f"{len(came)} of {len(asked)} carried out; lost: {', '.join(sorted(lost)) or 'nobody'}",
        "all, and nobody else lost", "; ".join(reasons),
        f"{len(came)} faults were provoked: the figures are of a cluster to which they happened",
    )  # fmt: skip


def _started(run: Run) -> set[str]:
    """Whoever is started again, and so is not lost for good."""
    return {step.target for step in timetable(run.scenario.faults) if step.action == "start"}
