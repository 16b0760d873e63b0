"""Signals at chosen points: what is raised where, and that what unwinds is not disturbed."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import testbed
from testbed import interrupts
from testbed.cli import output
from testbed.errors import INTERRUPTED, ProgramError
from testbed.experiment.record import _kept


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = {each: signal.getsignal(each) for each in interrupts.SIGNALS}
    fresh()
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


def fresh() -> None:
    """As a command begins; under nohup they would be ignored."""
    for each in interrupts.SIGNALS:
        signal.signal(each, signal.default_int_handler)


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)  # its handler has run when this returns


def interrupted_at(point: int, what: Callable[[], None]) -> bool:
    """Run something that a signal interrupts, with one more before the n-th line, in our code or
    contextlib, that follows the first.

    Returns:
        False if it has fewer lines.
    """
    passed = 0
    traced = (str(Path(testbed.__file__).parent), contextlib.__file__)

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal passed
        if not frame.f_code.co_filename.startswith(traced):
            return None
        if event == "line" and interrupts.arrived():
            passed += 1
            if passed == point:
                interrupt()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        what()
    finally:
        sys.settrace(before)
    return passed >= point


@pytest.mark.parametrize("number", interrupts.SIGNALS)
def test_a_signal_is_raised_once(number: signal.Signals) -> None:
    with interrupts.heeded() as signals:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        signal.raise_signal(number)
        assert signals.arrived == 2


def test_in_a_held_block_it_is_raised_where_the_block_waits() -> None:
    with interrupts.heeded(), interrupts.held():
        interrupt()
        with pytest.raises(KeyboardInterrupt), interrupts.let_through():
            pytest.fail("it had come before")
    fresh()
    with (
        interrupts.heeded(),
        interrupts.held(),
        pytest.raises(KeyboardInterrupt),
        interrupts.let_through(),
    ):
        interrupt()
        pytest.fail("it is raised where it comes")


def test_what_the_first_has_begun_only_the_second_breaks_off() -> None:
    with interrupts.heeded(), interrupts.held():
        with pytest.raises(KeyboardInterrupt), interrupts.let_through():
            interrupt()
        with interrupts.let_through(at=2):
            pass
        with pytest.raises(KeyboardInterrupt), interrupts.let_through(at=2):
            interrupt()


def test_behind_a_held_block_it_is_as_before_unless_one_has_come() -> None:
    with interrupts.heeded():
        with interrupts.held():
            pass
        with pytest.raises(KeyboardInterrupt):
            interrupt()
    fresh()
    with interrupts.heeded():
        with interrupts.held():
            interrupt()
        interrupt()
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()


def test_an_error_in_a_held_block_leaves_signals_as_they_were() -> None:
    with interrupts.heeded():
        with pytest.raises(ProgramError), interrupts.held():
            raise ProgramError("something else")
        with pytest.raises(KeyboardInterrupt):
            interrupt()


def test_where_none_is_installed_python_rules() -> None:
    with pytest.raises(KeyboardInterrupt), interrupts.held():
        interrupt()
    with interrupts.let_through(at=2):
        assert interrupts.arrived() == 0


def test_what_the_parent_ignores_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interrupts.heeded() as signals, interrupts.held():
        interrupt()
        assert signals.arrived == 0
        with pytest.raises(KeyboardInterrupt), interrupts.let_through():
            signal.raise_signal(signal.SIGTERM)


def test_the_third_ends_the_process_on_the_spot() -> None:
    script = """if True:
        import signal, atexit
        from testbed import interrupts
        with interrupts.heeded(), interrupts.held():
            for _ in range(4):
                signal.raise_signal(signal.SIGINT)
                print("goes on", flush=True)
    """
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (INTERRUPTED, "goes on\n" * 2)
    assert ended.stderr.startswith("\ntestbed: ended at once")


def test_behind_the_command_signals_change_nothing() -> None:
    script = """if True:
        import os, signal
        from testbed import interrupts
        with interrupts.heeded():
            pass
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
    """
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


# --- at every line --------------------------------------------------------------------------------


def test_a_second_signal_at_any_line_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"

    def command() -> None:
        fresh()
        run.mkdir(exist_ok=True)
        with (
            pytest.raises(SystemExit) as ended,
            interrupts.heeded(),
            output.failures(False),
            interrupts.held(),
            _kept(run),
        ):
            (run / "log").touch()
            with interrupts.let_through():
                interrupt()
        assert ended.value.code == INTERRUPTED

    point = 1
    while interrupted_at(point, command):
        said = capsys.readouterr().err
        assert said == f"testbed: interrupted\nwhat there is of the run by now is in {run}\n"
        point += 1
    assert point > 50
