"""Failures of a verb: what is printed where, and with what status the command ends."""

from __future__ import annotations

import errno
import io
import json
import sys

import pytest
from rich.console import Console
from rich.file_proxy import FileProxy

from testbed import interrupts
from testbed.cli import output
from testbed.cli.main import command
from testbed.errors import EXEC_FAILED, CapacityError, NotFoundError, ProgramError, UsageError


def test_a_failure_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, output.failures(False):
        raise NotFoundError("there is no x", hint="make one")
    assert ended.value.code == NotFoundError.exit_status
    out, err = capsys.readouterr()
    assert (out, err) == ("", "testbed: there is no x\nmake one\n")


def test_as_json_it_is_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), output.failures(True):
        raise NotFoundError("there is no x", hint="make one")
    out, err = capsys.readouterr()
    assert err == ""
    assert json.loads(out) == {
        "error": {
            "kind": "not-found",
            "message": "there is no x",
            "hint": "make one",
            "exit_status": NotFoundError.exit_status,
        }
    }


@pytest.mark.parametrize("error", [NotFoundError("gone", hint="look"), KeyboardInterrupt()])
def test_notes_are_told_behind_the_hint(
    error: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    error.add_note("the rest is in runs/x")
    for as_json in (False, True):
        with pytest.raises(SystemExit), output.failures(as_json):
            raise error
    out, err = capsys.readouterr()
    assert err.endswith("\nthe rest is in runs/x\n")
    assert json.loads(out)["error"]["hint"].endswith("the rest is in runs/x")


def test_a_verb_can_have_one_status_for_all_failures(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, output.failures(False, exit_status=EXEC_FAILED):
        raise NotFoundError("there is no x")
    assert ended.value.code == EXEC_FAILED
    assert capsys.readouterr().err == "testbed: there is no x\n"


def test_an_interrupt_ends_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, output.failures(False):
        raise KeyboardInterrupt
    assert ended.value.code == 130
    assert "Traceback" not in capsys.readouterr().err


def test_what_an_interrupt_turned_into_is_told_beside_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interrupts, "arrived", lambda: 1)
    for error in (ImportError("half of numpy"), ProgramError("pe0 died", hint="see its log")):
        with pytest.raises(SystemExit) as ended, output.failures(False):
            raise error
        assert ended.value.code == 130
    assert capsys.readouterr().err.splitlines() == [
        "testbed: interrupted",
        "on the way out: ImportError: half of numpy",
        "testbed: interrupted",
        "on the way out: pe0 died",
        "see its log",
    ]


def test_a_full_disk_is_no_defect(capsys: pytest.CaptureFixture[str]) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    full.add_note("what there is is in runs/x")
    with pytest.raises(SystemExit) as ended, output.failures(False):
        raise full
    assert ended.value.code == CapacityError.exit_status
    assert "full" in (said := capsys.readouterr().err)
    assert said.endswith("\nwhat there is is in runs/x\n")


def test_only_output_that_nobody_reads_ends_a_command_silently() -> None:
    """A pipe of another kind that breaks is a defect."""
    with pytest.raises(BrokenPipeError), output.failures(False):
        raise BrokenPipeError


def test_a_defect_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), output.failures(False):
        raise ZeroDivisionError


def test_as_json_a_defect_is_an_object_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, output.failures(True):
        raise ZeroDivisionError("division by zero")
    out, err = capsys.readouterr()
    assert ended.value.code == 1
    error = json.loads(out)["error"]
    assert (error["kind"], error["exit_status"]) == ("error", 1)
    assert error["message"] == "ZeroDivisionError: division by zero"
    assert "Traceback" in err


def test_a_result_is_lines_or_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    output.result({"a": 1}, ["one", "two"], as_json=False)
    output.result({"a": 1}, ["one", "two"], as_json=True)
    shown = capsys.readouterr().out
    assert shown.startswith("one\ntwo\n{")
    assert json.loads(shown.removeprefix("one\ntwo\n")) == {"a": 1}


def test_no_colour_where_nobody_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert output.emphasis("ok", fg="green") != "ok"
    monkeypatch.setenv("NO_COLOR", "1")
    assert output.emphasis("ok", fg="green") == "ok"


def test_a_note_goes_above_a_live_line_and_not_into_it(monkeypatch: pytest.MonkeyPatch) -> None:
    device = io.BytesIO()
    terminal = io.TextIOWrapper(device)
    shown = io.StringIO()
    live = FileProxy(Console(file=shown), terminal)  # what rich puts in the place of stderr
    monkeypatch.setattr(sys, "stderr", live)
    output.note("run 2 of 3")
    terminal.flush()
    assert (shown.getvalue(), device.getvalue()) == ("run 2 of 3\n", b"")


def test_what_a_library_has_made_of_an_interrupt_is_not_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class PanicException(BaseException):
        """As libraries in Rust raise it, with the whole traceback in its message."""

    monkeypatch.setattr(interrupts, "arrived", lambda: 1)
    with pytest.raises(SystemExit) as ended, output.failures(False):
        raise PanicException("called `Result::unwrap()` on an `Err` value")
    assert (ended.value.code, capsys.readouterr().err) == (130, "testbed: interrupted\n")


@pytest.mark.parametrize(
    "arguments",
    [["run", "demo", "--out"], ["report"], ["up"], ["sweep"], ["experiments", "--dir"]],
    ids=lambda words: words[0],
)
def test_a_path_that_cannot_be_used_is_told_without_a_traceback(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = "/" + "x" * 300 + ".py"  # longer than any file system allows, for root as well
    with pytest.raises(SystemExit) as ended:
        command.main([*arguments, path], standalone_mode=False)
    assert ended.value.code == UsageError.exit_status
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith(f"testbed: {path}") and said[0].endswith(": File name too long")
    assert len(said) == 2
