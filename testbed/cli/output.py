"""How a command says what came out: results on standard output, all else on standard error.

Little is imported: every verb imports this, the quick ones too.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
import traceback
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import click

from testbed import interrupts
from testbed.errors import INTERRUPTED, TestbedError, no_space, unusable_path
from testbed.terminal import wants_colour


def result(obj: Any, lines: Iterable[str], *, as_json: bool) -> None:
    """Print a result.

    Args:
        obj: what `--json` prints, as one object.
        lines: the same for people.
        as_json: which of the two.
    """
    if as_json:
        click.echo(json.dumps(obj, indent=2, ensure_ascii=False))
        return
    for line in lines:
        click.echo(line)


def note(text: str) -> None:
    """Say something that is not the result: progress, a remark."""
    # Not by click, which finds the way around the stream that a live line of progress puts there.
    print(text, file=sys.stderr, flush=True)


def emphasis(text: str, **style: Any) -> str:
    """Text with a colour or weight, where the user wants any."""
    return click.style(text, **style) if wants_colour() else text


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    note(f"note: {message}")


@contextlib.contextmanager
def failures(as_json: bool, *, exit_status: int | None = None) -> Iterator[None]:
    """What a verb does when it fails: one message, the error's own exit status, no traceback.

    Notes of the exception (PEP 678) are told behind the hint.  After Ctrl-C it is interrupted,
    whatever it fails by.

    Args:
        as_json: the failure is a JSON object on standard output, also of a defect, whose
            traceback is on standard error: {"error": {"kind", "message", "hint", "exit_status"}}.
        exit_status: instead of the error's own (`exec` has one status for the testbed's failures).
    """
    warnings.showwarning = _show_warning  # a remark, without the line of code that made it
    try:
        yield
    except SystemExit:
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) or interrupts.arrived():
            _tell_interrupted(error, as_json)
            sys.exit(INTERRUPTED)
        if plain := no_space(error) or unusable_path(error):
            for said in getattr(error, "__notes__", ()):
                plain.add_note(said)
            error = plain
        if isinstance(error, TestbedError):
            status = error.exit_status if exit_status is None else exit_status
            _tell(error.kind, error.message, _and_notes(error.hint, error), status, as_json)
            sys.exit(status)
        if isinstance(error, BrokenPipeError) and (unread := _unread()):
            # As with `testbed ls | head`: say nothing, as other tools do.
            devnull = os.open(os.devnull, os.O_WRONLY)
            for descriptor in unread:
                os.dup2(devnull, descriptor)
            sys.exit(141)  # 128 + SIGPIPE
        if not as_json or not isinstance(error, Exception):
            raise
        traceback.print_exc()
        hint = _and_notes("a defect of the testbed: its traceback is on standard error", error)
        status = TestbedError.exit_status if exit_status is None else exit_status
        _tell(TestbedError.kind, f"{type(error).__name__}: {error}", hint, status, as_json)
        sys.exit(status)


def _unread() -> list[int]:
    """Which of standard output and error are pipes whose reader has gone, see poll(2)."""
    poll = select.poll()
    for descriptor in (1, 2):
        poll.register(descriptor, 0)
    return [descriptor for descriptor, event in poll.poll(0) if event & select.POLLERR]


def _tell_interrupted(error: BaseException, as_json: bool) -> None:
    """The user has ended it, whatever came of that on the way: an extension that is interrupted
    while it is imported raises an ImportError.
    """
    hint = ""
    if isinstance(error, TestbedError):
        hint = f"on the way out: {error.message}\n{error.hint}".rstrip()
    elif isinstance(error, Exception) and not isinstance(error, click.Abort):
        hint = f"on the way out: {type(error).__name__}: {error}"
    _tell("interrupted", "interrupted", _and_notes(hint, error), INTERRUPTED, as_json)


def _and_notes(hint: str, error: BaseException) -> str:
    return "\n".join(filter(None, [hint, *getattr(error, "__notes__", ())]))


def _tell(kind: str, message: str, hint: str, exit_status: int, as_json: bool) -> None:
    if as_json:
        body = {"kind": kind, "message": message, "hint": hint, "exit_status": exit_status}
        click.echo(json.dumps({"error": body}, indent=2, ensure_ascii=False))
        return
    note(f"testbed: {message}")
    if hint:
        note(hint)
