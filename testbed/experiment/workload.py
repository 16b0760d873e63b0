"""What a workload plugs into the runner: programs to place, records to read, figures to show.

A workload is found by its entry point (group `testbed.workloads`).  The runner owns the cluster,
the processes, the counters and the run directory; the workload gives them their meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import msgspec
from mininet.topo import Topo

from testbed.experiment.plugins import load_plugin
from testbed.experiment.scale import Scale
from testbed.experiment.scenario import Scenario
from testbed.fidelity.checks import Check
from testbed.fidelity.sampler import Counted
from testbed.plan.compile import PlanSettings
from testbed.plan.model import Plan
from testbed.sandbox.program import Program


class Placed(msgspec.Struct, frozen=True):
    """A program of the workload, by the name that messages and logs give it.

    Args:
        again: what is run in its place each time that it is started again, see `Provoked`.
    """

    name: str
    program: Program
    again: tuple[Program, ...] = ()


class Provoked(msgspec.Struct, frozen=True):
    """A fault that the leading program has asked for, when it was carried out.

    Args:
        action: "stop" (SIGSTOP), "resume" (SIGCONT), "kill" (SIGKILL), or "start": again, what was
            killed.
        t_s: time.monotonic() seconds.
    """

    action: str
    program: str
    t_s: float


class Series(msgspec.Struct):
    """What the runner saw of one variant while it ran; times are time.monotonic() seconds.

    Args:
        started_s, ended_s: when the programs were told to start, and when they had stopped.
        counted: by the kernel.
        finished: the fields of the leading program's `finished`; if it was interrupted, of what it
            said last.
        interrupted_s: when the user pressed Ctrl-C; figures are of what was there by then.
        provoked: faults that were carried out, in order.
    """

    started_s: float
    ended_s: float = 0.0
    counted: Counted = Counted()
    finished: dict[str, Any] = {}
    interrupted_s: float | None = None
    provoked: list[Provoked] = []


class Outcome(msgspec.Struct):
    """What a workload makes of one variant.

    Args:
        summary: the stable, documented figures of `--json`.
        tables: table name -> records of one type each; written as Parquet.
        window: (open, close) of the steady window, or None where there is none.
        checks: the workload's own checks for the verdict.
        account: (nic, direction) -> bytes that the workload says crossed it.
        unaccounted: NICs of which it cannot say that: whoever kept their account is gone.
    """

    summary: dict[str, Any]
    tables: Mapping[str, Sequence[msgspec.Struct]]
    window: tuple[float, float] | None
    checks: list[Check]
    account: dict[tuple[str, str], float]
    unaccounted: list[tuple[str, str]] = []


class Workload(Protocol):
    """A kind of experiment."""

    scenario_type: type[Scenario]

    def topology(self, scenario: Scenario) -> Topo:
        """The cluster of a scenario, with emulated rates."""

    def plan_settings(self, scenario: Scenario) -> PlanSettings:
        """How its links are made."""

    def measure_costs(self, report: Callable[[str], None]) -> None:
        """Measure what `predict` and `check` need to know of this machine, if it is not known.

        `report` is told what takes time.  Without this they take what is known by then.
        """

    def predict(self, scenario: Scenario, plan: Plan) -> dict[str, Any]:
        """The caps, and what this machine needs; `policies` is variant -> its own figures."""

    def check(self, scenario: Scenario, plan: Plan) -> None:
        """CapacityError, with the largest scale that fits, if this machine cannot carry it."""

    def largest_scale(self, scenario: Scenario) -> Scale:
        """The largest scale that this machine carries; CapacityError if there is none."""

    def variants(self, scenario: Scenario) -> list[str]:
        """What is compared (policies); the first is the baseline."""

    def programs(
        self, scenario: Scenario, plan: Plan, variant: str, directory: Path
    ) -> list[Placed]:
        """The programs of one variant; the last one leads: its `finished` ends the variant.

        It may ask for faults of the others: see `testbed.experiment.programs`.
        """

    def outcome(
        self, scenario: Scenario, plan: Plan, variant: str, directory: Path, series: Series
    ) -> Outcome:
        """Read the records in `directory` and say what happened."""

    def compare(
        self, scenario: Scenario, prediction: dict[str, Any], outcomes: dict[str, Outcome]
    ) -> dict[str, Any]:
        """Figures over all variants, added to `--json` (scale, speedup, …)."""


def find_workload(name: str) -> Workload:
    """The workload plug-in of that name; NotFoundError names those there are."""
    factory = cast("Callable[[], Workload]", load_plugin(name))
    return factory()
