"""A sweep: a grid of points (`testbed.experiment.grid`), each a set of runs.

The directory of a sweep is `OUT/NAME`.  A point's directory is named after its values and a digest
of its whole scenario.  What is finished is told by the runs (`testbed.experiment.rounds`).  A
changed scenario has another digest, and so is another point.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from testbed.errors import ReportError, TestbedError
from testbed.experiment import repeats, rounds
from testbed.experiment.grid import Point, Sweep
from testbed.experiment.rounds import Status
from testbed.experiment.runner import Progress
from testbed.results import layout
from testbed.results.writer import write_json


class Swept(NamedTuple):
    """A sweep that has been run.

    Args:
        path: its directory.
        failed: label of a job -> the error that ended it; it runs again the next time.
        unwritten: reports of runs that are not there, and why.
    """

    path: Path
    failed: dict[str, TestbedError]
    unwritten: tuple[ReportError, ...]


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
    with rounds.alone(path):
        found = rounds.plan(points, path, retry_unfaithful=retry_unfaithful)
        lengths_s = rounds.foreseen(found.points)
        _write(path, asked, points, argv)
        layout.mark_latest(path)
        try:
            return Swept(path, *rounds.run_left(path, found, argv, report, told, lengths_s))
        except KeyboardInterrupt as ended:
            done = rounds.plan(points, path, retry_unfaithful=retry_unfaithful).done
            ended.add_note(
                f"{len(done)} of {len(found.jobs)} runs of the sweep {path} are complete; the same "
                "command runs the others"
            )
            raise


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
