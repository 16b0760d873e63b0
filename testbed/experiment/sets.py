"""A set: one scenario several times (`testbed.experiment.repeats`), begun, gone on with, added to.

A set is a sweep of one point: what is finished is told by its runs (`testbed.experiment.rounds`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from testbed.errors import NotFoundError, ReportError, TestbedError, UnfaithfulError, UsageError
from testbed.experiment import repeats, rounds
from testbed.experiment.grid import Point
from testbed.experiment.record import Asked
from testbed.experiment.rounds import Status
from testbed.experiment.runner import Progress
from testbed.report import attempt
from testbed.results import comparable, layout
from testbed.results.load import document_of
from testbed.results.writer import plain

if TYPE_CHECKING:
    from testbed.results.compare import Comparison
    from testbed.results.sets import RunSet


class Repeated(NamedTuple):
    """A set that has been run, at least one run of it.

    Args:
        path: its directory; `testbed.results.sets.load_set` reads it.
        failed: which run -> the error that ended it; it runs again the next time.
        unwritten: reports of its runs or its own that are not there, and why.
    """

    path: Path
    failed: dict[str, TestbedError]
    unwritten: tuple[ReportError, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The documented object of `testbed run --repeat N --json`."""
        compared = self._compared()
        runs = compared.sides[0].runs
        return {
            "set": str(self.path),
            "verdict": "FAIL" if runs.unfaithful else "PASS",
            "runs": [
                {
                    "run": str(each.path),
                    "verdict": each.verdict.status,
                    "reasons": each.verdict.reasons,
                }
                for each in runs.runs
            ],
            "failed": {run: error.message for run, error in self.failed.items()},
            "unwritten": [error.message for error in self.unwritten],
            **compared.as_json(),
        }

    def lines(self) -> list[str]:
        """The same for people: the verdicts first."""
        from testbed.report.comparison import lines
        from testbed.results.compare import chosen

        compared = self._compared()
        said = [f"{each.verdict.status}  {each.path}" for each in compared.sides[0].runs.runs]
        said += [f"failed: {run}: {error.message}" for run, error in self.failed.items()]
        return [*said, *lines(compared, chosen(compared, ()))]

    def judge(self, *, accept_unfaithful: bool = False) -> None:
        """Return only if every run was made and may be believed.

        Raises:
            TestbedError: the first error that ended a run, with its exit status.
            UnfaithfulError: a run has the verdict FAIL.
            ReportError: a report is not there.
        """
        for run, error in self.failed.items():
            error.add_note(
                f"that was {run}, the first of {len(self.failed)} runs of the set {self.path} that "
                f"failed; {_again(self.path)} runs them again"
            )
            attempt.tell(error, self.unwritten)
            raise error
        unfaithful = [] if accept_unfaithful else self._runs().unfaithful
        if unfaithful:
            first = unfaithful[0]
            doubtful = UnfaithfulError(
                f"{len(unfaithful)} runs of {self.path} have the verdict FAIL, the first: "
                f"{first.path}: {first.verdict.reasons[0]}",
                hint=f"{_again(self.path)} and --retry-unfaithful makes them again; "
                "--accept-unfaithful exits 0 all the same",
            )
            attempt.tell(doubtful, self.unwritten)
            raise doubtful
        attempt.judge(self.unwritten)

    def _runs(self) -> RunSet:
        from testbed.results.sets import load_set

        return load_set(self.path)

    def _compared(self) -> Comparison:
        from testbed.results.compare import compare  # scipy: not before anything ran

        return compare([self.path], accept_unfaithful=True)  # verdicts are told beside it


def run(
    asked: Asked,
    out: Path,
    times: int | None,
    argv: Sequence[str],
    report: Callable[[Progress], None],
    told: Callable[[Status], None],
    *,
    into: Path | None = None,
    retry_unfaithful: bool = False,
) -> Repeated:
    """Make the runs of a set that are not finished.

    A run that fails is remembered, and the others are made all the same.

    Args:
        asked: what to run.
        out: directory of all runs; a new set is `out/TIME-NAME`.
        times: how many runs there are to be; None is as many as the set was to have, or one.
        argv: the command line, for the runs' provenance.
        report: called with the progress of each run.
        told: called before each run.
        into: the directory of the set to go on with; None begins a new one.
        retry_unfaithful: runs whose verdict is FAIL are made again, and no longer counted.

    Raises:
        NotFoundError: what to go on with is no set.
        UsageError: `times` is not at least 1; the set is of another scenario, or larger.
        CapacityError: this machine cannot carry it.
        ConflictError: the set is being run already.
        TestbedError: no run could be made; the first reason.
        KeyboardInterrupt: the user ended it; what is finished stays.
    """
    from testbed.report.several import write_set  # scipy: for who has asked for several runs

    scenario, workload = asked
    times = (times or 1) if into is None else _resumed(into, asked, times)
    each = repeats.planned(scenario.seed, workload.variants(scenario), times)
    point = Point({}, ".", asked, each)
    lengths_s = rounds.foreseen([point])
    path = into or layout.new_run(out, scenario.name)
    with rounds.alone(path):
        repeats.begin_set(path, asked, each, argv)
        layout.mark_latest(path)
        found = rounds.plan([point], path, retry_unfaithful=retry_unfaithful)
        try:
            made = rounds.run_left(path, found, argv, report, told, lengths_s)
        except KeyboardInterrupt as ended:
            done = rounds.plan([point], path, retry_unfaithful=retry_unfaithful).done
            ended.add_note(
                f"{len(done)} of {times} runs of the set {path} are complete; {_again(path)} makes "
                "the others"
            )
            raise
    if len(made.failed) == len(found.jobs):
        raise next(iter(made.failed.values()))
    failed = attempt.attempt(lambda: write_set(path), path)
    return Repeated(path, made.failed, made.unwritten + (() if failed is None else (failed,)))


def _resumed(path: Path, asked: Asked, times: int | None) -> int:
    """See that a set may be gone on with; how many runs it is to have."""
    if not (path / layout.SET).is_file():
        raise NotFoundError(
            f"{path} is no set of runs: it has no {layout.SET}",
            hint="`testbed run SCENARIO --repeat N` begins one",
        )
    document = document_of(path / layout.SET)
    found = comparable.differences(
        [document["scenario"], plain(asked.scenario.model_dump(mode="json"))],
        besides=("name", "description"),
    )
    if any(found):
        unknown = f"; another version has no {', '.join(found.unknown)}" if found.unknown else ""
        raise UsageError(
            f"the set {path} is of another scenario (the set's / this one): "
            f"{comparable.in_words(found.varied)}{unknown}",
            hint="ask for the same scenario with the same --set and --scale, or begin a new set "
            "without --into",
        )
    before = len(document["repeats"])
    if times is not None and times < before:
        raise UsageError(
            f"the set {path} is to have {before} runs, and {times} are asked for",
            hint=f"--repeat {before} completes it, a larger number adds to it",
        )
    return times or before


def _again(path: Path) -> str:
    return f"the same command with --into {path.name}"
