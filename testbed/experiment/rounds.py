"""Runs in rounds over points, which go on where they were ended: what a set and a sweep share.

A run is finished when its run.json is there, which is written last.  So nothing keeps account of
what is done: after a crash or Ctrl-C the same command looks, and runs what is left.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from testbed.errors import CapacityError, ConflictError, ReportError, TestbedError, UsageError
from testbed.experiment import record, repeats
from testbed.experiment.grid import Point
from testbed.experiment.repeats import Repeat
from testbed.experiment.runner import Progress
from testbed.results import layout
from testbed.results.load import document_of

_LOCK = "lock"


class Job(NamedTuple):
    """One run of one point."""

    point: Point
    repeat: Repeat

    @property
    def weight(self) -> float:
        """How long it takes, in proportion to other jobs."""
        return self.point.asked.scenario.duration * max(1, len(self.repeat.order))

    @property
    def label(self) -> str:
        """Which one it is, in words."""
        return ", ".join(filter(None, [self.point.label, f"repeat {self.repeat.number}"]))


class Status(NamedTuple):
    """How far it is, before a job.

    Args:
        job: the next one.
        done, total: runs, those of earlier commands among them.
        left_s: how long all that is left will take, if as long as what was done; before anything
            was, as predicted; None if nobody predicts it.
        failed: of those that this command ran.
    """

    job: Job
    done: int
    total: int
    left_s: float | None
    failed: int


class Made(NamedTuple):
    """What came of the runs that were left.

    Args:
        failed: label of a job -> the error that ended it.
        unwritten: runs without a report, and why; they are complete.
    """

    failed: dict[str, TestbedError]
    unwritten: tuple[ReportError, ...]


class Plan(NamedTuple):
    """What there is to run.

    Args:
        jobs: all runs, in their order.
        to_do: those that are not finished.
        done: weight and seconds of those that are.
    """

    jobs: list[Job]
    to_do: list[Job]
    done: list[tuple[float, float]]

    @property
    def points(self) -> list[Point]:
        """Those that something is left to run of."""
        return list({job.point.directory: job.point for job in self.to_do}.values())

    def as_json(self, lengths_s: Mapping[str, float]) -> dict[str, Any]:
        """The object of `testbed sweep --dry-run --json`; how long a run of each point takes."""
        waiting = set(map(_key, self.to_do))
        return {
            "runs": [
                {
                    "point": job.point.values,
                    "directory": job.point.directory,
                    "repeat": job.repeat.number,
                    "seed": job.repeat.seed,
                    "order": list(job.repeat.order),
                    "finished": _key(job) not in waiting,
                }
                for job in self.jobs
            ],
            "left_s": left_s(self.done, self.to_do, lengths_s),
        }

    def lines(self) -> list[str]:
        """The same for people."""
        waiting = set(map(_key, self.to_do))
        return [f"{'to do' if _key(job) in waiting else 'done '}  {job.label}" for job in self.jobs]


def in_rounds(points: Sequence[Point]) -> list[Job]:
    """All runs in time: each point's first, then each point's second in reverse, and so on.

    So there is something of each point early, and a drifting machine favours no point.
    """
    rounds = max((len(point.repeats) for point in points), default=0)
    jobs = []
    for number in range(rounds):
        order = points if number % 2 == 0 else list(reversed(points))
        jobs += [Job(p, p.repeats[number]) for p in order if number < len(p.repeats)]
    return jobs


def left(jobs: Sequence[Job], finished: Mapping[str, Mapping[int, float]]) -> list[Job]:
    """The jobs that have still to run.

    Args:
        jobs: in their order.
        finished: directory of a point -> seeds of its finished runs, and how long they took.
    """
    return [job for job in jobs if job.repeat.seed not in finished.get(job.point.directory, {})]


def left_s(
    done: Sequence[tuple[float, float]], to_do: Sequence[Job], lengths_s: Mapping[str, float]
) -> float | None:
    """How long the rest takes, if it goes on as it went; before anything was done, as predicted.

    Args:
        done: weight and seconds of each job that is done.
        to_do: the others.
        lengths_s: directory of a point -> how long a run of it should take.

    Returns:
        None if nothing was done, and not all is predicted.
    """
    if weight := sum(each for each, _ in done):
        return sum(took_s for _, took_s in done) / weight * sum(each.weight for each in to_do)
    if all(each.point.directory in lengths_s for each in to_do):
        return sum(lengths_s[each.point.directory] for each in to_do)
    return None


def plan(points: Sequence[Point], path: Path, *, retry_unfaithful: bool = False) -> Plan:
    """What is left to run, by the runs that there are.

    Args:
        points: each a set, below the directory.
        path: the directory; it need not be there.
        retry_unfaithful: runs whose verdict is FAIL do not count.
    """
    jobs = in_rounds(points)
    took_s = {
        point.directory: _finished(path / point.directory, faithful_only=retry_unfaithful)
        for point in points
    }
    to_do = left(jobs, took_s)
    waiting = set(map(_key, to_do))
    done = [
        (job.weight, took_s[job.point.directory][job.repeat.seed])
        for job in jobs
        if _key(job) not in waiting
    ]
    return Plan(jobs, to_do, done)


def run_left(
    path: Path,
    found: Plan,
    argv: Sequence[str],
    report: Callable[[Progress], None],
    told: Callable[[Status], None],
    lengths_s: Mapping[str, float],
) -> Made:
    """Make the runs that are left; one that fails is remembered, and the others are made.

    Args:
        path: the directory of the points.
        found: what `plan` gave.
        argv: the command line, for the runs' provenance.
        report: called with the progress of each run.
        told: called before each run.
        lengths_s: directory of a point -> how long a run of it should take.

    Raises:
        KeyboardInterrupt: the user ended it; what is finished stays.
    """
    failed: dict[str, TestbedError] = {}
    unwritten: list[ReportError] = []
    paces = list(found.done)
    before = len(found.jobs) - len(found.to_do)
    for number, job in enumerate(found.to_do):
        rest = found.to_do[number:]
        try:
            ahead_s = left_s(paces, rest, lengths_s)
            told(Status(job, before + number, len(found.jobs), ahead_s, len(failed)))
            place = path / job.point.directory
            done = repeats.run_one(job.point.asked, job.repeat, place, argv, report)
            unwritten += done.unwritten
            if done.ran.interrupted:
                raise KeyboardInterrupt
        except TestbedError as error:
            failed[job.label] = error
        else:
            paces.append((job.weight, _took_s(document_of(done.path / layout.RUN))))
    return Made(failed, tuple(unwritten))


def foreseen(points: Sequence[Point]) -> dict[str, float]:
    """See that the machine can carry every point, before the first runs.

    Returns:
        Directory of a point -> how long a run of it should take, where that is predicted.

    Raises:
        CapacityError: which points it cannot carry, and why the first of them.
    """
    lengths_s: dict[str, float] = {}
    refused: dict[str, CapacityError] = {}
    for point in points:
        predicted = record.predict(point.asked)
        if predicted.refusal is not None:
            refused[point.label] = predicted.refusal
        elif length_s := predicted.prediction.get("length_s"):
            lengths_s[point.directory] = float(length_s)
    if refused:
        first, why = next(iter(refused.items()))
        if not first:  # of a set, which is one point
            raise why
        raise CapacityError(
            f"this machine cannot carry {len(refused)} of {len(points)} points "
            f"({'; '.join(refused)}); {first}: {why.message}",
            hint=f"take them out of the grid, or: {why.hint}",
        )
    return lengths_s


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Make the directory of a set, a sweep or experiments; nobody else runs it in the block.

    Raises:
        ConflictError: somebody does.
        UsageError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise UsageError(
            f"the directory {path} cannot be made: {error.strerror}",
            hint="choose a directory of yours with --out",
        ) from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(
                f"what {path} holds is being run already",
                hint="wait for it, or give another directory",
            ) from None
        yield
    finally:
        os.close(lock)


def _key(job: Job) -> tuple[str, int]:
    return job.point.directory, job.repeat.seed


def _finished(path: Path, *, faithful_only: bool) -> dict[int, float]:
    """Seed of each finished run of a set -> how long it took; of one seed the newest counts."""
    by_seed: dict[int, float] = {}
    for run in layout.all_runs(path):
        document = document_of(run / layout.RUN)
        if document.get("interrupted"):
            continue
        if faithful_only and not _passed(run):
            by_seed.pop(int(document["seed"]), None)
            continue
        by_seed[int(document["seed"])] = _took_s(document)
    return by_seed


def _passed(run: Path) -> bool:
    verdict: dict[str, Any] = msgspec.json.decode((run / layout.VERDICT).read_bytes())
    return bool(verdict["status"] == "PASS")


def _took_s(document: Mapping[str, Any]) -> float:
    began, ended = (datetime.fromisoformat(document[key]) for key in ("started", "ended"))
    return (ended - began).total_seconds()
