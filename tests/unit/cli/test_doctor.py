"""What the doctor says of findings, whatever this machine has."""

from __future__ import annotations

import json

import pytest

from testbed.cli.doctor import command
from testbed.errors import UnsupportedError
from testbed.kernel import features
from testbed.kernel.features import Feature

PRESENT = Feature("veth", "links", True, True)
OPTIONAL = Feature("qdisc fq", "pacing", False, False, "no qdisc fq", "modprobe sch_fq")
CAUSE = Feature("user namespace", "users", True, False, "no room", "sysctl")
BEHIND = Feature("HTB", "rates", True, False, "not tried, for lack of: x", tried=False)


def examine(monkeypatch: pytest.MonkeyPatch, found: list[Feature], *options: str) -> object:
    monkeypatch.setattr(features, "features", lambda: found)
    try:
        command.main(list(options), standalone_mode=False)
    except SystemExit as ended:
        return ended.code
    return 0


def test_what_is_optional_is_no_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert examine(monkeypatch, [PRESENT, OPTIONAL]) == 0
    out, err = capsys.readouterr()
    assert "optional   qdisc fq  pacing" in out and "to do: modprobe sch_fq" in out
    assert "everything that is required is there" in out
    assert err == ""


def test_the_cause_is_named_and_what_stands_on_it_is_not_blamed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert examine(monkeypatch, [CAUSE, BEHIND]) == UnsupportedError.exit_status
    out, err = capsys.readouterr()
    assert out.count("to do:") == 1 and "no room" in out and "for lack of" not in out
    assert "not tried  HTB" in out
    assert "lacks user namespace; 1 more that is required could not be tried" in err


def test_if_nothing_could_be_tried_nothing_is_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert examine(monkeypatch, [BEHIND]) == UnsupportedError.exit_status
    out, err = capsys.readouterr()
    assert "not tried, for lack of: x" in out
    assert "lacks HTB\n" in err


def test_as_json_the_status_is_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert examine(monkeypatch, [CAUSE, BEHIND], "--json") == UnsupportedError.exit_status
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is False
    assert [one["tried"] for one in told["features"]] == [True, False]
