"""Every error the testbed raises on purpose, and the exit status each one ends a command with.

A message says what was asked, what happened, and what to do next.  The command line prints
it as one paragraph and exits with the class's status; a traceback is only ever shown for a
defect of the testbed itself.
"""

from __future__ import annotations

import errno
import os
import re


class TestbedError(Exception):
    """Base of all errors a user may meet.

    Args:
        message: what was asked and what happened.
        hint: what to do next; printed on a line of its own.
    """

    __test__ = False  # the name starts with "Test"; pytest must not collect it
    exit_status = 1
    kind = "error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(TestbedError):
    """A value on the command line or in the API makes no sense."""

    exit_status = 2
    kind = "usage"


class TopologyError(TestbedError):
    """A topology cannot be turned into a plan."""

    exit_status = 3
    kind = "topology"


class ScenarioError(TestbedError):
    """A scenario or a trace file is wrong."""

    exit_status = 4
    kind = "scenario"


class NotFoundError(TestbedError):
    """A testbed, node, run, scenario or topology of that name does not exist."""

    exit_status = 5
    kind = "not-found"


class ConflictError(TestbedError):
    """A testbed of that name runs already, or another package is in the way."""

    exit_status = 6
    kind = "conflict"


class UnsupportedError(TestbedError):
    """The kernel, or the rights of this user, lack something that is needed."""

    exit_status = 7
    kind = "unsupported"


class CapacityError(TestbedError):
    """This machine cannot carry what was asked."""

    exit_status = 8
    kind = "capacity"


class KernelError(TestbedError):
    """The kernel refused an element of the plan."""

    exit_status = 9
    kind = "kernel"


class VerifyError(TestbedError):
    """What the kernel has is not what the plan asked for."""

    exit_status = 10
    kind = "verify"


class ProgramError(TestbedError):
    """A program inside the testbed could not be started, died, or did not answer."""

    exit_status = 11
    kind = "program"


class UnfaithfulError(TestbedError):
    """A run ended with the verdict FAIL: its figures must not be believed."""

    exit_status = 12
    kind = "unfaithful"


class ReportError(TestbedError):
    """What was asked for is complete, but its report could not be written."""

    exit_status = 13
    kind = "report"


def _number(error: BaseException | None) -> int | None:
    """The errno of an error; libraries in Rust (polars) have it in their message only."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    told = re.search(r"\(os error (\d+)\)", str(error))
    return int(told[1]) if told else None


def no_space(error: BaseException | None) -> CapacityError | None:
    """What an error means if it is a full file system, or a quota that is used up; see write(2)."""
    number = _number(error)
    if number not in (errno.ENOSPC, errno.EDQUOT):
        return None
    where = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
    return CapacityError(
        f"{where}{os.strerror(number)}: the file system is full",
        hint="free some space (`df` shows where there is none), or write elsewhere",
    )


_UNUSABLE = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR,
)  # fmt: skip


def unusable_path(error: BaseException | None) -> UsageError | None:
    """What an error means if this user cannot use the path that it names; see open(2)."""
    if not isinstance(error, OSError) or not error.filename or error.errno not in _UNUSABLE:
        return None
    return UsageError(
        f"{error.filename}: {error.strerror}",
        hint="give a path that this user can read, and write where something is to be written",
    )


EXEC_FAILED = 125  # `testbed exec` itself failed, see env(1)
EXEC_NOT_EXECUTABLE = 126  # the program was found but could not be run
EXEC_NOT_FOUND = 127  # the program was not found
INTERRUPTED = 130  # Ctrl-C: 128 + SIGINT; SIGTERM too


def exit_statuses() -> dict[int, str]:
    """The one table of exit statuses: number -> meaning."""
    table = {0: "success"}
    classes = [TestbedError]
    while classes:
        cls = classes.pop(0)
        # A part's own subclass, for its own use, ends a command as its base does.
        classes.extend(sub for sub in cls.__subclasses__() if sub.__module__ == __name__)
        doc = (cls.__doc__ or "").strip().splitlines()[0]
        table[cls.exit_status] = doc if cls is not TestbedError else "a defect of the testbed"
    table[EXEC_FAILED] = "exec: the testbed failed, not the program"
    table[EXEC_NOT_EXECUTABLE] = "exec: the program could not be run"
    table[EXEC_NOT_FOUND] = "exec: the program was not found"
    table[INTERRUPTED] = "interrupted by Ctrl-C or SIGTERM"
    return dict(sorted(table.items()))
