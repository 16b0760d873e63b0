"""A sweep: a grid of points (`testbed.experiment.grid`), each a set of runs.

The directory of a sweep is `OUT/NAME`.  A point's directory is named after its values and a digest
of its whole scenario; a run of it is finished when its run.json is there, which is written last.
So nothing keeps account of what is done: after a crash the same command looks, and runs what is
left.  A changed scenario has another digest, and so is another point.
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

from testbed.errors import CapacityError, ConflictError, TestbedError, UsageError
from testbed.experiment import record, repeats
from testbed.experiment.grid import Point, Sweep
from testbed.experiment.repeats import Repeat
from testbed.experiment.runner import Progress
from testbed.results import layout
from testbed.results.load import document_of
from testbed.results.writer import write_json

_LOCK = "lock"


class Job(NamedTuple):
    """One run of one point."""

    point: Point
    repeat: Repeat

    @property
    def weight(self) -> float:
        """How long it takes, in proportion to other jobs."""
        return self.point.asked.scenario.duration * max(1, len(self.repeat.order))


class Status(NamedTuple):
    """How far a sweep is, before a job.

    Args:
        job: the next one.
        done, total: runs, those of earlier commands among them.
        left_s: how long all that is left will take, if as long as what was done; None if nothing
            was done yet.
    """

    job: Job
    done: int
    total: int
    left_s: float | None


class Swept(NamedTuple):
    """A sweep that has been run.

    Args:
        path: its directory.
        failed: label of a job -> the error that ended it; it runs again the next time.
    """

    path: Path
    failed: dict[str, TestbedError]


# --- what is to be done: pure -------------------------------------------------------------------


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


def left(jobs: Sequence[Job], finished: Mapping[str, set[int]]) -> list[Job]:
    """The jobs that have still to run.

    Args:
        jobs: in their order.
        finished: directory of a point -> seeds of its finished runs.
    """
    return [job for job in jobs if job.repeat.seed not in finished.get(job.point.directory, ())]


def left_s(done: Sequence[tuple[float, float]], to_do: Sequence[float]) -> float | None:
    """How long the rest takes, if it goes on as it went.

    Args:
        done: weight and seconds of each job that is done.
        to_do: weights of the others.
    """
    weight = sum(each for each, _ in done)
    if not weight:
        return None
    return sum(took_s for _, took_s in done) / weight * sum(to_do)


def check_capacity(points: Sequence[Point]) -> None:
    """See that the machine can carry every point, before the first runs.

    Raises:
        CapacityError: which points it cannot carry, and why the first of them.
    """
    refused: dict[str, CapacityError] = {}
    for point in points:
        try:
            record.predict(point.asked).judge()
        except CapacityError as error:
            refused[point.label] = error
    if refused:
        first, why = next(iter(refused.items()))
        raise CapacityError(
            f"this machine cannot carry {len(refused)} of {len(points)} points "
            f"({'; '.join(refused)}); {first}: {why.message}",
            hint=f"take them out of the grid, or: {why.hint}",
        )


class Plan(NamedTuple):
    """What a sweep would run.

    Args:
        jobs: all runs, in their order.
        to_do: those that are not finished.
        done: weight and seconds of those that are.
    """

    jobs: list[Job]
    to_do: list[Job]
    done: list[tuple[float, float]]

    def as_json(self) -> dict[str, Any]:
        """The object of `testbed sweep --dry-run --json`."""
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
            "left_s": left_s(self.done, [job.weight for job in self.to_do]),
        }

    def lines(self) -> list[str]:
        """The same for people."""
        waiting = set(map(_key, self.to_do))
        return [
            f"{'to do' if _key(job) in waiting else 'done '}  {job.point.label}, "
            f"repeat {job.repeat.number}"
            for job in self.jobs
        ]


def _key(job: Job) -> tuple[str, int]:
    return job.point.directory, job.repeat.seed


def plan(points: Sequence[Point], path: Path, *, retry_unfaithful: bool = False) -> Plan:
    """What is left to run of a sweep, by the runs that its directory has.

    Args:
        points: as `grid.load` gave them.
        path: the sweep's directory; it need not be there.
        retry_unfaithful: runs whose verdict is FAIL do not count.
    """
    jobs = in_rounds(points)
    took_s = _finished(path, points, faithful_only=retry_unfaithful)
    to_do = left(jobs, {directory: set(seeds) for directory, seeds in took_s.items()})
    waiting = set(map(_key, to_do))
    done = [
        (job.weight, took_s[job.point.directory][job.repeat.seed])
        for job in jobs
        if _key(job) not in waiting
    ]
    return Plan(jobs, to_do, done)


# --- running it ---------------------------------------------------------------------------------


def run(
    asked: Sweep,
    points: Sequence[Point],
    out: Path,
    argv: Sequence[str],
    report: Callable[[Progress], None],
    told: Callable[[Status], None],
    *,
    retry_unfaithful: bool = False,
) -> Swept:
    """Run what is left of a sweep.

    A run that fails is remembered, and the others run all the same.

    Args:
        asked, points: as `grid.load` gave them.
        out: directory of all runs; the sweep's is `out/NAME`.
        argv: the command line, for the runs' provenance.
        report: called with the progress of each run.
        told: called before each run.
        retry_unfaithful: runs whose verdict is FAIL are made again, and no longer counted.

    Raises:
        CapacityError: a point cannot be carried; none has run then.
        ConflictError: the sweep runs already.
        UsageError: its directory cannot be made.
        KeyboardInterrupt: the user ended it; what is finished stays.
    """
    path = out / asked.name
    with _locked(path):
        jobs, to_do, done = plan(points, path, retry_unfaithful=retry_unfaithful)
        waiting = {job.point.directory for job in to_do}
        check_capacity([point for point in points if point.directory in waiting])
        _write(path, asked, points, argv)
        layout.mark_latest(path)
        try:
            return Swept(path, _run_all(path, jobs, to_do, done, argv, report, told))
        except KeyboardInterrupt as ended:
            complete = len(plan(points, path, retry_unfaithful=retry_unfaithful).done)
            ended.add_note(
                f"{complete} of {len(jobs)} runs of the sweep {path} are complete; the same "
                "command runs the others"
            )
            raise


def _run_all(
    path: Path,
    jobs: Sequence[Job],
    to_do: Sequence[Job],
    paces: list[tuple[float, float]],
    argv: Sequence[str],
    report: Callable[[Progress], None],
    told: Callable[[Status], None],
) -> dict[str, TestbedError]:
    failed: dict[str, TestbedError] = {}
    for number, job in enumerate(to_do):
        rest = [each.weight for each in to_do[number:]]
        try:
            before = len(jobs) - len(to_do) + number
            told(Status(job, before, len(jobs), left_s(paces, rest)))
            place = path / job.point.directory
            done = repeats.run_one(job.point.asked, job.repeat, place, argv, report)
            if done.ran.interrupted:
                raise KeyboardInterrupt
        except TestbedError as error:
            failed[f"{job.point.label}, repeat {job.repeat.number}"] = error
        else:
            paces.append((job.weight, _took_s(document_of(done.path / layout.RUN))))
    return failed


def _finished(
    path: Path, points: Sequence[Point], *, faithful_only: bool
) -> dict[str, dict[int, float]]:
    """Directory of a point -> seed of each finished run -> how long it took."""
    found: dict[str, dict[int, float]] = {}
    for point in points:
        by_seed = found[point.directory] = {}
        for run in layout.all_runs(path / point.directory):
            document = document_of(run / layout.RUN)
            if document.get("interrupted"):
                continue
            if faithful_only and not _passed(run):
                by_seed.pop(int(document["seed"]), None)
                continue
            by_seed[int(document["seed"])] = _took_s(document)
    return found


def _passed(run: Path) -> bool:
    verdict: dict[str, Any] = msgspec.json.decode((run / layout.VERDICT).read_bytes())
    return bool(verdict["status"] == "PASS")


def _took_s(document: Mapping[str, Any]) -> float:
    began, ended = (datetime.fromisoformat(document[key]) for key in ("started", "ended"))
    return (ended - began).total_seconds()


def _write(path: Path, asked: Sweep, points: Sequence[Point], argv: Sequence[str]) -> None:
    """sweep.json, and the set.json of every point, before anything runs."""
    for point in points:
        (path / point.directory).mkdir(exist_ok=True)
        repeats.begin_set(path / point.directory, point.asked, point.repeats, argv)
    document = {
        "layout_version": layout.LAYOUT_VERSION,
        "command": list(argv),
        **asked.model_dump(mode="json"),
        "points": [
            {"directory": point.directory, "values": point.values, "label": point.label}
            for point in points
        ],
    }
    write_json(path / layout.SWEEP, document)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Make the directory of a sweep, and see that nobody else runs it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise UsageError(
            f"the directory {path} for the sweep cannot be made: {error.strerror}",
            hint="choose a directory of yours with --out",
        ) from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(
                f"the sweep in {path} is being run already",
                hint="wait for it, or give another --out",
            ) from None
        yield
    finally:
        os.close(lock)
