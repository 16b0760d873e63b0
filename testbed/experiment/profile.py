"""Profiling a cluster: short runs of a scenario's own cluster, from which parameters follow.

What is worth measuring, and how, the workload knows: one that has it gives `profile_runs` and
`profile` besides what `Workload` asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

from testbed.errors import UsageError
from testbed.experiment.record import Asked, Finished, execute
from testbed.experiment.runner import Progress
from testbed.experiment.scenario import Scenario
from testbed.experiment.workload import Outcome
from testbed.results.writer import plain


class Profile(NamedTuple):
    """What was measured.

    Args:
        values: the object of `--json`.
        lines: the same for people, with what to paste into a scenario.
    """

    values: dict[str, Any]
    lines: list[str]


class Profiler(Protocol):
    """A workload that can be profiled."""

    def profile_runs(self, scenario: Scenario) -> Mapping[str, Scenario]:
        """Short runs to make, by name; each has one variant."""

    def profile(self, scenario: Scenario, outcomes: Mapping[str, Outcome]) -> Profile:
        """What follows from them."""


class Profiled(NamedTuple):
    """A profile and the runs that it is from."""

    profile: Profile
    runs: list[Finished]

    def as_json(self) -> dict[str, Any]:
        """The object of `testbed profile --json`."""
        runs = [
            {"run": str(done.path), "verdict": done.ran.verdict.status,
             "reasons": done.ran.verdict.reasons}
            for done in self.runs
        ]  # fmt: skip
        found: dict[str, Any] = plain({**self.profile.values, "runs": runs})
        return found

    def lines(self) -> list[str]:
        """The same for people."""
        verdicts = [f"{done.ran.verdict.status}  {done.path}" for done in self.runs]
        return [*verdicts, *self.profile.lines]

    def judge(self, *, accept_unfaithful: bool = False) -> None:
        """As `Finished.judge`, of every run."""
        for done in self.runs:
            done.judge(accept_unfaithful=accept_unfaithful)


def profile(
    asked: Asked, out: Path, argv: Sequence[str], report: Callable[[Progress], None]
) -> Profiled:
    """Make the runs, and a profile of them.

    Args:
        asked: the scenario.
        out: directory of all runs.
        argv: the command line, for the runs' provenance.
        report: called with progress.

    Raises:
        UsageError: the workload has nothing to profile.
        TestbedError: a run could not be made.
    """
    scenario, workload = asked
    if not hasattr(workload, "profile_runs"):
        raise UsageError(
            f"the workload {scenario.plugin!r} of {scenario.name} has nothing to profile",
            hint="`testbed run` runs it",
        )
    profiler = cast("Profiler", workload)
    done: dict[str, Finished] = {}
    for name, short in profiler.profile_runs(scenario).items():
        done[name] = execute(Asked(short, workload), out, argv, report)
        if done[name].ran.interrupted:
            raise KeyboardInterrupt
    outcomes = {name: next(iter(each.ran.outcomes.values())) for name, each in done.items()}
    return Profiled(profiler.profile(scenario, outcomes), list(done.values()))
