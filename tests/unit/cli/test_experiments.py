"""`testbed experiments` and `testbed experiment`: what is asked for, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from testbed.cli import experiment, experiments
from testbed.errors import NotFoundError, UnfaithfulError, UsageError

STUDY = '''"""What it reproduces."""
from testbed.experiment.estimates import exactly
from testbed.experiment.study import Answer, Evidence, Expected, Minutes, Row, Study, always

def answer(ask):
    ask.noted("seen", "FAIL", ["a drop"])
    return Answer([Row("ratio", exactly(1.5), Expected(1, 2), 1.6, "×")])

STUDY = Study("Is it so?", "A paper", Minutes(1, 2, 3), answer, shares=always("SHARES"))
'''
ENDED = STUDY.replace('ask.noted("seen", "FAIL", ["a drop"])', "raise KeyboardInterrupt")


def ask(*arguments: str) -> Result:
    return CliRunner().invoke(experiment.command, list(arguments))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "first.py").write_text(STUDY.replace("SHARES", ""))
    (tmp_path / "second.py").write_text(STUDY.replace("SHARES", "first"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_list_says_the_minutes_and_what_is_shared(place: Path) -> None:
    told = CliRunner().invoke(experiments.command, ["--dir", str(place)])
    first, second, together = (line.split()[:4] for line in told.output.splitlines()[1:])
    assert first == ["first", "1.0", "2.0", "3.0"]
    assert second == ["second", "2.0", "4.0", "6.0"]  # with the first's runs
    assert together == ["all", "2.0", "4.0", "6.0"]
    told = CliRunner().invoke(experiments.command, ["--dir", str(place), "--json"])
    shares = [one["shares"]["medium"] for one in json.loads(told.output)["experiments"]]
    assert shares == ["", "first"]


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["first"], UsageError.exit_status),  # no size
        (["first", "--quick", "--full"], UsageError.exit_status),  # two
        (["--quick"], UsageError.exit_status),  # nothing named
        (["first", "--all", "--quick"], UsageError.exit_status),
        (["third", "--quick"], NotFoundError.exit_status),
    ],
)
def test_what_cannot_be_meant_is_refused(place: Path, arguments: list[str], status: int) -> None:
    assert ask(*arguments, "--dir", str(place)).exit_code == status
    assert not (place / "experiments").exists()


def test_a_verdict_of_fail_is_the_exit_status_and_the_page_is_there(place: Path) -> None:
    told = ask("--all", "--quick", "--dir", str(place))
    assert told.exit_code == 12
    assert "first: FAIL, 1 of 1 inside" in told.output
    assert "runs of 2 of 2 experiments have the verdict FAIL: first, second" in told.output
    (page,) = (place / "experiments").glob("*/index.html")
    accepted = ask("first", "--quick", "--dir", str(place), "--accept-unfaithful",
                   "--into", str(page.parent), "--json")  # fmt: skip
    assert accepted.exit_code == 0
    assert [p.parent for p in (place / "experiments").glob("*/index.html")] == [page.parent]


def test_a_set_is_begun_where_the_user_says(place: Path) -> None:
    told = ask("first", "--quick", "--dir", str(place), "--into", "a/new/one")
    assert told.exit_code == UnfaithfulError.exit_status
    assert "first, quick: about 1 min on two quiet cores; the set is a/new/one" in told.output
    assert (place / "a/new/one/index.html").is_file()


@pytest.mark.parametrize("taken", ["first.py", "run"])
def test_what_cannot_hold_a_set_is_refused(place: Path, taken: str) -> None:
    (place / "run").mkdir()
    (place / "run" / "run.json").write_text("{}")
    told = ask("first", "--quick", "--dir", str(place), "--into", taken)
    assert told.exit_code == UsageError.exit_status, told.output


def test_who_ends_a_set_has_its_page_and_hears_how_to_go_on(place: Path) -> None:
    (place / "third.py").write_text(ENDED.replace("SHARES", ""))
    told = ask("--all", "--quick", "--dir", str(place), "--into", "set")
    assert told.exit_code == 130
    assert "2 of 3 experiments have an answer; the same command with --into set" in told.output
    page = (place / "set" / "index.html").read_text()
    assert "first" in page and "third" not in page
    assert "set/index.html" in told.output


def test_who_ends_a_set_before_any_answer_has_no_page(place: Path) -> None:
    (place / "first.py").write_text(ENDED.replace("SHARES", ""))
    told = ask("first", "--quick", "--dir", str(place), "--into", "set")
    assert told.exit_code == 130 and "0 of 1 experiments" in told.output
    assert not (place / "set" / "index.html").exists()
