"""Where a run's files are: `runs/TIME-NAME/`, the same names in every run.

The names and the columns of the tables are part of what `LAYOUT_VERSION` promises; see
docs/run-directory.md.  Runs that belong together are in a directory with one more file, which says
what was asked: `set.json` (one scenario, several times) or `sweep.json` (a grid of sets).
"""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

from testbed.errors import ConflictError, NotFoundError, UsageError
from testbed.suggestions import suggestion

LAYOUT_VERSION = 1

RUN = "run.json"
SET = "set.json"
SWEEP = "sweep.json"
POINTS = "points"  # the table of a sweep
VERDICT = "verdict.json"
REPORT = "report.html"
FIGURES = "figures"
LOGS = "logs"
RECORDS = "records"  # what the workload's programs wrote, as they wrote it
LATEST = "latest"
TABLE_SUFFIX = ".parquet"
RUNS = Path("runs")


def table_path(run: Path, name: str) -> Path:
    """The file of a table: `requests` -> RUN/requests.parquet."""
    return run / f"{name}{TABLE_SUFFIX}"


def new_run(out: Path, name: str) -> Path:
    """Make the directory of a new run; two in one second get different ones.

    Args:
        out: directory of all runs; made if need be.
        name: of the scenario.

    Raises:
        ConflictError: there is something else in the way.
        UsageError: no directory can be made there.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise ConflictError(
            f"{out} is not a directory", hint="choose another one with --out"
        ) from None
    except OSError as error:
        raise _refused(out, error) from None
    for attempt in range(1, 1000):
        again = f"-{attempt}" if attempt > 1 else ""
        path = out / f"{stamp}-{name}{again}"
        try:
            path.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise _refused(path, error) from None
        return path
    raise ConflictError(f"{out} has 1000 runs of {name} at {stamp}", hint="wait a second")


def check_writable(out: Path) -> None:
    """See that runs can be written below a directory, or where it is to be made.

    Raises:
        ConflictError: it is a file.
        UsageError: this user may not write there.
    """
    place = next(each for each in (out, *out.absolute().parents) if each.exists())
    if not place.is_dir():
        raise ConflictError(f"{place} is not a directory", hint="choose another one with --out")
    if not os.access(place, os.W_OK | os.X_OK):
        raise _refused(out, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def _refused(path: Path, error: OSError) -> UsageError:
    return UsageError(
        f"the directory {path} for the run cannot be made: {error.strerror}",
        hint="choose a directory of yours with --out",
    )


def mark_latest(run: Path) -> None:
    """Let `latest` name a run that is complete.

    Raises:
        ConflictError: `latest` is there and is not a link.
    """
    link = run.parent / LATEST
    if link.exists() and not link.is_symlink():
        raise ConflictError(f"{link} is in the way of the link to the last run", hint="move it")
    # Replacing by rename: whoever reads `latest` meanwhile finds the old run or the new one.
    made = run.parent / f".{LATEST}-{os.getpid()}"
    made.unlink(missing_ok=True)
    made.symlink_to(run.name)
    made.replace(link)


def all_runs(out: Path = RUNS) -> list[Path]:
    """The complete runs of a directory, the oldest first."""
    return [path for path in _directories(out) if (path / RUN).is_file()]


def _directories(out: Path) -> list[Path]:
    """What is in a directory of runs, sorted; links are other names of the same."""
    if not out.is_dir():
        return []
    return sorted(path for path in out.iterdir() if path.is_dir() and not path.is_symlink())


def _holds_results(path: Path) -> bool:
    return any((path / file).is_file() for file in (RUN, SET, SWEEP))


def find_run(name_or_path: str, out: Path = RUNS) -> Path:
    """The directory of a run.

    Args:
        name_or_path: "latest", a path, a run's name, or a beginning or end of it that no other
            run has.
        out: directory of all runs.

    Raises:
        NotFoundError: there is none, it is not complete, or several match.
    """
    found = find_results(name_or_path, out)
    if (found / RUN).is_file():
        return found
    inside = sorted(str(path.parent) for path in found.rglob(RUN))
    raise NotFoundError(
        f"{found} holds several runs, and one is asked for",
        hint=f"give one of them: {', '.join(inside[:5])}{', …' if len(inside) > 5 else ''}"
        if inside
        else "none of them is complete yet",
    )


def _incomplete(path: Path) -> NotFoundError:
    return NotFoundError(
        f"the run {path} is not complete: it has no {RUN}",
        hint=f"what its programs said is in {path / LOGS}",
    )


def find_results(name_or_path: str, out: Path = RUNS) -> Path:
    """The directory of a run, of a set or of a sweep; otherwise as `find_run`.

    Raises:
        NotFoundError: there is none, it is not complete, or several match.
    """
    runs = [path for path in _directories(out) if _holds_results(path)]
    if name_or_path == LATEST:
        link = out / LATEST
        if _holds_results(link):
            return link.resolve()
        if runs:
            return runs[-1]
        if begun := [path for path in _directories(out) if (path / LOGS).is_dir()]:
            raise _incomplete(begun[-1])
        raise NotFoundError(f"there is no run in {out}", hint="`testbed run demo` makes one")
    for path in (Path(name_or_path), out / name_or_path):
        if _holds_results(path):
            return path
        if (path / LOGS).is_dir():
            raise _incomplete(path)
    names = [path.name for path in runs]
    matches = [n for n in names if n.startswith(name_or_path) or n.endswith(name_or_path)]
    if len(matches) == 1:
        return out / matches[0]
    if matches:
        raise NotFoundError(
            f"{len(matches)} runs match {name_or_path!r}: {', '.join(matches[-5:])}",
            hint="give more of the name; `latest` is the last one",
        )
    raise NotFoundError(
        f"there is no run {name_or_path!r} in {out}",
        hint=suggestion(name_or_path, reversed(names))
        if names
        else "there are none yet; `testbed run demo` makes one",
    )
