"""What a study asks for: runs of scenarios, and a cluster of its own that is watched like a run.

Runs of one set lie in one directory, and a scenario that another study of the set has run already
is not run again: three figures of a paper may come from the same runs.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from testbed import interrupts
from testbed.errors import TestbedError
from testbed.experiment import record
from testbed.experiment.record import Asked
from testbed.experiment.repeats import Repeat, planned, run_one
from testbed.experiment.runner import Progress
from testbed.experiment.study import Evidence, Size
from testbed.fidelity.monitor import Monitor
from testbed.fidelity.sampler import Sampler
from testbed.fidelity.verdict import check_cluster, judge
from testbed.lab import Lab
from testbed.results import layout
from testbed.results.load import RunData, load
from testbed.results.writer import plain

T = TypeVar("T")
REPEATS: dict[Size, int] = {"quick": 1, "medium": 3, "full": 3}


class Runs:
    """The runs of a set of studies, by what was asked.

    Args:
        directory: that they are made in.
        argv: the command line, for their run.json.
        report: called with progress.
        retry_unfaithful: runs that are there and whose verdict is FAIL are made again.
    """

    def __init__(
        self,
        directory: Path,
        argv: list[str],
        report: Callable[[Progress], None],
        *,
        retry_unfaithful: bool = False,
    ) -> None:
        self.directory = directory
        self._argv = argv
        self._report = report
        # Where runs are, not what they hold: tables of a night's runs fill the memory.
        self._known: dict[bytes, Path] = {}
        for path in layout.all_runs(directory):  # of several, the newest counts
            found = load(path)
            key = _key(found.run["scenario"])
            if found.run["interrupted"]:
                continue
            self._known[key] = path
            if retry_unfaithful and found.verdict.status == "FAIL":
                del self._known[key]

    def get(self, asked: Asked, one: Repeat) -> RunData:
        """A run of this scenario with a repeat's seed: one that is there, or a new one.

        Raises:
            TestbedError: it could not be run.
            KeyboardInterrupt: the user ended it.
        """
        seeded = asked.scenario.model_copy(update={"seed": one.seed})
        key = _key(plain(seeded.model_dump(mode="json")))
        if key not in self._known:
            finished = run_one(asked, one, self.directory, self._argv, self._report)
            if finished.ran.interrupted:
                raise KeyboardInterrupt
            for error in finished.unwritten:
                self._report(Progress(asked.scenario.name, "report", {"warning": str(error)}, {}))
            self._known[key] = finished.path
            interrupts.check()  # whatever else the study does, it need not do
        return load(self._known[key])


def _key(scenario: Mapping[str, Any]) -> bytes:
    """A scenario apart from its name, which only says what its directory is called."""
    told = {name: value for name, value in scenario.items() if name not in ("name", "description")}
    return msgspec.json.encode(told, order="sorted")


class Asking:
    """One study, while it is answered.

    Args:
        name: of the study.
        size: how much time there is.
        runs: of the set that it belongs to.
        repeat: how often scenarios are run; default 1, 3, 3 by size.
    """

    def __init__(self, name: str, size: Size, runs: Runs, repeat: int | None = None) -> None:
        self.name = name
        self.size = size
        self._repeat = repeat or REPEATS[size]
        self.evidence: list[Evidence] = []
        self._runs = runs

    def pick(self, quick: T, medium: T, full: T) -> T:
        """What belongs to this size."""
        return {"quick": quick, "medium": medium, "full": full}[self.size]

    def runs(
        self,
        scenario: str,
        changes: Mapping[str, object] | None = None,
        *,
        repeat: int | None = None,
    ) -> list[RunData]:
        """Run a scenario, more than once in the larger sizes, each time with another seed.

        A repeat that fails is evidence that the study FAILs, and does not cost the others: what is
        returned is of those that were made.

        Args:
            scenario: a shipped one, or a YAML file.
            changes: dotted key paths to values that replace the scenario's.
            repeat: how often; default what the user asks for.

        Raises:
            TestbedError: none could be made; the first reason.
        """
        overrides = {key: _text(value) for key, value in (changes or {}).items()}
        asked = record.load(scenario, overrides)
        times = repeat or self._repeat
        variants = asked.workload.variants(asked.scenario)
        made: list[RunData] = []
        failed: dict[int, TestbedError] = {}
        for one in planned(asked.scenario.seed, variants, times):
            try:
                made.append(self._run(asked, one))
            except TestbedError as error:
                interrupts.check()
                failed[one.number] = error
        if not made:
            raise next(iter(failed.values()))
        for number, reason in failed.items():
            what = f"{asked.scenario.name}, repeat {number} of {times}"
            self.noted(what, "FAIL", [f"could not be made: {reason.message}"])
        return made

    def run(self, scenario: str, changes: Mapping[str, object] | None = None) -> RunData:
        """Run a scenario once, whatever the size; arguments and errors as of `runs`."""
        return self.runs(scenario, changes, repeat=1)[0]

    def _run(self, asked: Asked, one: Repeat) -> RunData:
        found = self._runs.get(asked, one)
        said = Evidence(found.path.name, found.verdict.status, list(found.verdict.reasons))
        if said not in self.evidence:
            self.evidence.append(said)
        return found

    @contextlib.contextmanager
    def watched(self, lab: Lab, what: str) -> Iterator[None]:
        """Judge what happens on a cluster of the study's own in the block, as a run is judged.

        There is no workload that could give an account of its bytes; all else is checked.

        Args:
            lab: the cluster.
            what: is measured, in words: the name of the evidence.
        """
        sampler, monitor = Sampler(lab), Monitor()
        monitor.start()
        opened_s = time.monotonic()
        try:
            yield
        finally:
            window = (opened_s, time.monotonic())
            machine = monitor.stop()
            counted = sampler.stop()
        verdict = judge(check_cluster(what, lab.plan, counted, machine, window, lab.verify()))
        self.evidence.append(Evidence(what, verdict.status, list(verdict.reasons)))

    def noted(self, what: str, status: Literal["PASS", "FAIL"], reasons: list[str]) -> None:
        """Evidence that the study has judged by itself.

        Args:
            what: was measured, in words.
            status, reasons: as of a verdict; a reason for each thing that is wrong.
        """
        self.evidence.append(Evidence(what, status, reasons))


def _text(value: object) -> str:
    """A value as YAML."""
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()  # JSON is YAML
