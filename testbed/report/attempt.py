"""Writing a page of something that is complete: whatever comes of the page, that stays and is told.

Drawing is the last thing that a command does, after minutes or hours of running.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from testbed.errors import ReportError, TestbedError, no_space


def attempt(
    write: Callable[[], object], path: Path, again: str = "testbed report {path}"
) -> ReportError | None:
    """Write a report.

    Args:
        write: it, with all that it needs to be imported for that.
        path: directory of the run, the set or the sweep.
        again: the command that writes it again.

    Returns:
        Why it was not written, and how to write it again; None if it was.
    """
    try:
        write()
    except Exception as error:  # also of a defect: `testbed report` shows its traceback
        return ReportError(
            f"the report of {path} was not written: {_why(error)}",
            hint="all that it is of is complete and kept; to write it again: "
            + again.format(path=path),
        )
    return None


def _why(error: Exception) -> str:
    known = no_space(error) or error
    if isinstance(known, TestbedError):
        return known.message
    return f"{type(error).__name__}: {error}"


def tell(error: BaseException, unwritten: Sequence[ReportError]) -> None:
    """Have an error that ends a command tell what else went wrong."""
    for each in unwritten:
        error.add_note(str(each))


def judge(unwritten: Sequence[ReportError]) -> None:
    """Return only if all reports were written.

    Raises:
        ReportError: the first that was not, with the others in its notes.
    """
    if unwritten:
        first, *others = unwritten
        tell(first, others)
        raise first
