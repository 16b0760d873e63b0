"""One scenario several times: a *set* of runs, from which medians and intervals follow.

Each repeat has a seed of its own, derived from the scenario's, so that the same command makes the
same set.  Variants run one after another; a machine that slows down meanwhile would favour the
first.  So every second repeat runs them in reverse, A B B A, and a steady drift adds the same to
each variant's mean over a pair of repeats.

A set is a directory with ordinary run directories in it, and `set.json`, which says what was asked
and is written first.  What is finished is told by the runs alone: nothing else has to agree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from testbed.errors import UsageError
from testbed.experiment import record
from testbed.experiment.record import Asked, Finished
from testbed.experiment.runner import Progress
from testbed.results import layout
from testbed.results.writer import write_json

if TYPE_CHECKING:
    from testbed.results.compare import Comparison


class Repeat(NamedTuple):
    """One run of a set.

    Args:
        number: from 1.
        seed: of this run's scenario.
        order: of the variants in time.
    """

    number: int
    seed: int
    order: tuple[str, ...]


def planned(seed: int, variants: Sequence[str], times: int) -> list[Repeat]:
    """The runs of a set.

    Args:
        seed: the scenario's; the first repeat has it, so that it is the run that there would be
            without repeats.
        variants: in the scenario's order.
        times: how many runs.

    Raises:
        UsageError: `times` is not at least 1.
    """
    if times < 1:
        raise UsageError(f"{times} repeats make no sense", hint="1 or more; 5 give an interval")
    seeds = derived_seeds(seed, times)
    forwards, backwards = tuple(variants), tuple(reversed(variants))
    return [
        Repeat(number, each, forwards if number % 2 else backwards)
        for number, each in enumerate(seeds, start=1)
    ]


def derived_seeds(seed: int, times: int) -> list[int]:
    """Different seeds that follow from one; a longer list begins with the shorter one.

    They are numpy's seed sequences, whose values numpy promises to keep.
    """
    found = [seed]
    number = 0
    while len(found) < times:
        number += 1
        derived = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        if derived not in found:
            found.append(derived)
    return found[:times]


class Repeated(NamedTuple):
    """A set that has been written.

    Args:
        path: its directory; `testbed.results.sets.load_set` reads it.
        runs: in the order that they were made in.
    """

    path: Path
    runs: list[Finished]

    def as_json(self) -> dict[str, Any]:
        """The documented object of `testbed run --repeat N --json`."""
        verdicts = [each.ran.verdict for each in self.runs]
        return {
            "set": str(self.path),
            "verdict": "FAIL" if any(v.status == "FAIL" for v in verdicts) else "PASS",
            "runs": [
                {"run": str(each.path), "verdict": v.status, "reasons": v.reasons}
                for each, v in zip(self.runs, verdicts, strict=True)
            ],
            **self._compared().as_json(),
        }

    def lines(self) -> list[str]:
        """The same for people: the verdicts first."""
        from testbed.report.comparison import lines
        from testbed.results.compare import chosen

        compared = self._compared()
        verdicts = [f"{each.ran.verdict.status}  {each.path}" for each in self.runs]
        return [*verdicts, *lines(compared, chosen(compared, ()))]

    def _compared(self) -> Comparison:
        from testbed.results.compare import compare  # scipy: not before anything ran

        return compare([self.path], accept_unfaithful=True)  # verdicts are told beside it

    def judge(self, *, accept_unfaithful: bool = False) -> None:
        """As `Finished.judge`, of every run."""
        for each in self.runs:
            each.judge(accept_unfaithful=accept_unfaithful)


def repeat(
    asked: Asked,
    out: Path,
    times: int,
    argv: Sequence[str],
    report: Callable[[Progress], None],
    told: Callable[[Repeat, int], None] = lambda one, times: None,
) -> Repeated:
    """Run a scenario several times, as a set of its own.

    Args:
        asked: what to run.
        out: directory of all runs; the set is `out/TIME-NAME`.
        times: how many runs.
        argv: the command line, for the runs' provenance.
        report: called with the progress of each run.
        told: called before each run, with how many there are.

    Raises:
        UsageError: `times` is not at least 1.
        TestbedError: a run could not be made; those before it stay.
        KeyboardInterrupt: the user ended it; the runs that are complete stay, as a set.
    """
    scenario, workload = asked
    repeats = planned(scenario.seed, workload.variants(scenario), times)
    path = layout.new_run(out, scenario.name)
    begin_set(path, asked, repeats, argv)
    layout.mark_latest(path)
    runs: list[Finished] = []
    try:
        for each in repeats:
            told(each, times)
            runs.append(run_one(asked, each, path, argv, report))
            if runs[-1].ran.interrupted:
                raise KeyboardInterrupt
    except KeyboardInterrupt as ended:
        complete = sum(not each.ran.interrupted for each in runs)
        ended.add_note(f"{complete} of {times} runs of the set {path} are complete")
        raise
    return Repeated(path, runs)


def begin_set(path: Path, asked: Asked, repeats: Sequence[Repeat], argv: Sequence[str]) -> None:
    """Write what a set is to hold; the directory must be there."""
    write_json(path / layout.SET, document(asked, repeats, argv))


def document(asked: Asked, repeats: Sequence[Repeat], argv: Sequence[str]) -> dict[str, Any]:
    """What set.json holds."""
    return {
        "layout_version": layout.LAYOUT_VERSION,
        "name": asked.scenario.name,
        "command": list(argv),
        "scenario": asked.scenario.model_dump(mode="json"),
        "repeats": [each._asdict() for each in repeats],
    }


def run_one(
    asked: Asked,
    one: Repeat,
    path: Path,
    argv: Sequence[str],
    report: Callable[[Progress], None],
) -> Finished:
    """Make one run of a set, inside its directory.

    Raises:
        TestbedError: as `record.execute`.
    """
    seeded = Asked(asked.scenario.model_copy(update={"seed": one.seed}), asked.workload)
    return record.execute(seeded, path, argv, report, order=one.order)
