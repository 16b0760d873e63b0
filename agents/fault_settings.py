"""The scenario's section `faults`: what goes wrong in a run on purpose, and when.

Each fault becomes one step or two of a timetable, which the client works off: it asks the runner
for what is done to a process, and storage for what is done to blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from agents.cluster import SCHEDULER
from agents.faults import Action, Step
from agents.numbers import MOST_SCHEDULERS
from testbed.experiment.scenario import DurationS, Section

Kind: TypeAlias = Literal["stop", "kill", "restart-scheduler", "forget-blocks", "fill-storage"]

_OF_STORAGE = frozenset({"forget-blocks", "fill-storage"})
_STEPS: dict[Kind, tuple[Action, Action]] = {
    "stop": ("stop", "resume"),
    "kill": ("kill", "start"),
    "restart-scheduler": ("kill", "start"),
    "forget-blocks": ("forget", "clear"),
    "fill-storage": ("fill", "clear"),
}


class Fault(Section):
    """One thing that goes wrong."""

    at: DurationS
    """When, in emulated time from the first submission on."""

    kind: Kind
    """stop: the node's process stops (SIGSTOP).  kill: it dies (SIGKILL).  restart-scheduler: the
    scheduler dies, and another takes its place.  forget-blocks: a storage node loses blocks.
    fill-storage: a storage node has no more room."""

    node: str | None = None
    """A prefill, decode or storage node; of the last two kinds a storage node."""

    lasts: DurationS | None = None
    """stop: it goes on after so long (default never).  restart-scheduler: nobody schedules for so
    long (default 0s).  fill-storage: there is room again after so long (default never)."""

    share: Annotated[float, Field(gt=0, le=1)] | None = None
    """forget-blocks: of the node's blocks, the least recently used (default all of them)."""

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Fault:
        if self.kind == "restart-scheduler":
            if self.node is not None:
                raise ValueError("restart-scheduler has no node: there is one scheduler")
        elif self.node is None:
            raise ValueError(f"{self.kind} needs a node")
        if self.lasts is not None and self.kind in ("kill", "forget-blocks"):
            raise ValueError(f"{self.kind} is for good: it has no lasts")
        if self.share is not None and self.kind != "forget-blocks":
            raise ValueError("only forget-blocks has a share")
        return self

    @property
    def until(self) -> float | None:
        """When it is over, emulated; None if it is for good."""
        if self.kind == "restart-scheduler":
            return self.at + (self.lasts or 0.0)
        return None if self.lasts is None else self.at + self.lasts


def timetable(faults: Iterable[Fault]) -> list[Step]:
    """The steps of all faults, in order."""
    steps = []
    for fault in faults:
        begin, end = _STEPS[fault.kind]
        target = SCHEDULER if fault.node is None else fault.node
        steps.append(Step(fault.at, begin, target, 1.0 if fault.share is None else fault.share))
        if fault.until is not None:
            steps.append(Step(fault.until, end, target))
    return sorted(steps, key=lambda step: step.at_s)


def check_times(faults: Sequence[Fault], least_end_s: float) -> None:
    """Refuse faults that may never come, or that come to what is gone already.

    Args:
        least_end_s: end of the shortest run, emulated.

    Raises:
        ValueError: says which.
    """
    restarts = sum(fault.kind == "restart-scheduler" for fault in faults)
    if restarts >= MOST_SCHEDULERS:
        raise ValueError(f"{restarts} restarts of the scheduler: at most {MOST_SCHEDULERS - 1}")
    over: dict[str, float | None] = {}
    for fault in sorted(faults, key=lambda fault: fault.at):
        name = SCHEDULER if fault.node is None else fault.node
        last_s = fault.at if fault.until is None else fault.until
        if last_s > least_end_s:
            raise ValueError(
                f"{fault.kind} of {name} at {last_s:g}s: the run may be over after "
                f"{least_end_s:g}s, window.warm_up and duration"
            )
        if fault.kind in _OF_STORAGE:
            continue
        until = over.get(name, -1.0)
        if until is None:
            raise ValueError(f"{fault.kind} of {name} at {fault.at:g}s: by then it is gone")
        if fault.at < until:
            raise ValueError(f"{fault.kind} of {name} at {fault.at:g}s: it is not back yet")
        over[name] = fault.until


def misplaced(fault: Fault, roles: dict[str, list[str]]) -> str:
    """What is wrong with a fault's node, in words; empty if nothing is.

    Args:
        roles: role -> nodes of the cluster.
    """
    may = ["storage"] if fault.kind in _OF_STORAGE else ["prefill", "decode", "storage"]
    nodes = [node for role in may for node in roles[role]]
    if fault.node is None or fault.node in nodes:
        return ""
    return f"{fault.kind} of {fault.node!r}: there are {', '.join(nodes)}"
