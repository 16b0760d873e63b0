"""Studies are found by name in a directory, or by file; each is answered into a directory."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from testbed.errors import (
    ConflictError,
    NotFoundError,
    ProgramError,
    UnfaithfulError,
    UsageError,
)
from testbed.experiment import answering, studies
from testbed.experiment.rounds import alone
from testbed.experiment.study import Evidence, Finding
from testbed.experiment.table import lines
from testbed.results.intervals import Interval

STUDY = '''"""What it reproduces, and why."""
from testbed.errors import CapacityError
from testbed.experiment.estimates import exactly
from testbed.experiment.study import Answer, Expected, Minutes, Row, Study
from testbed.results.charts import Chart, Series
from testbed.results.intervals import Interval

def answer(ask):
    ask.noted("seen", "PASS", [])
    chart = Chart("NAME", "Title <b>", "x", "y", [Series("a", ["p", "q"], [exactly(1.0), None],
                  [2.0, None])])
    return Answer([Row("ratio & more", exactly(1.5), Expected(1, 2), 1.6, "×")], [chart], ["Note."])

def broken(ask):
    raise CapacityError("too much", hint="less")

def defective(ask):
    raise ZeroDivisionError

def undrawable(ask):
    chart = Chart("NAME", "", "x", "y", [Series("a", ["p", "q"], [exactly(1.0)])])
    return Answer([Row("ratio & more", exactly(1.5), Expected(1, 2), 1.6, "×")], [chart])

def unkeepable(ask):
    return Answer([], data={"what": object()})

def endless(ask):
    ask.noted("seen", "FAIL", [])
    low = Interval(1.5, float("-inf"), 2.0, 0.95, 10)
    return Answer([Row("a", exactly(float("inf")), Expected(1, 2), 1.6, "×", "By hand"),
                   Row("b", exactly(float("nan"))), Row("c", low, Expected(1, 2))])

STUDY = Study("Is it so?", "A paper", Minutes(1, 2, 3), ANSWER)
'''


def write(place: Path, name: str, answer: str = "answer") -> Path:
    file = place / f"{name}.py"
    file.write_text(STUDY.replace("ANSWER", answer).replace("NAME", name))
    return file


def test_studies_are_found_by_name_and_by_file(tmp_path: Path) -> None:
    file = write(tmp_path, "mine")
    (tmp_path / "__init__.py").write_text("")
    assert list(studies.files(tmp_path)) == ["mine"]
    by_name, by_file = studies.find("mine", tmp_path), studies.find(str(file))
    assert by_name.about == by_file.about == "What it reproduces, and why."
    assert by_name.study.minutes.of("medium") == 2
    with pytest.raises(NotFoundError, match=r"'mini'.*mine"):
        studies.find("mini", tmp_path)
    with pytest.raises(NotFoundError, match="no file"):
        studies.find("nowhere/mine.py")


def test_studies_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("fig10_b", "fig7_z", "fig10_a", "lanes", "fig7_c"):
        write(tmp_path, name)
    ordered = ["fig7_c", "fig7_z", "fig10_a", "fig10_b", "lanes"]
    assert list(studies.files(tmp_path)) == ordered
    _, place = answered(tmp_path, *((name, "answer") for name in reversed(ordered)))
    assert [each.name for each in answering.findings(place)] == ordered


def test_where_there_is_no_checkout_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies, "DIRECTORY", tmp_path / "scripts" / "experiments")
    with pytest.raises(NotFoundError, match="no experiments beside this testbed") as caught:
        studies.files()
    assert "--dir" in caught.value.hint
    with pytest.raises(NotFoundError, match="no directory"):
        studies.files(tmp_path / "none")
    with pytest.raises(NotFoundError, match="no experiment in"):
        studies.files(tmp_path)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x = 1", "has no STUDY"),
        ("from testbed.experiment.study import *\nSTUDY = 1", "has no STUDY"),
        (STUDY.partition("\n")[2].replace("ANSWER", "answer"), "has no docstring"),
        ("1 / 0", "ZeroDivisionError"),
        ("def", "SyntaxError"),
        ("raise SystemExit", "SystemExit"),
    ],
)
def test_a_file_that_is_no_study_is_refused(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(UsageError, match=why):
        studies.find("mine", tmp_path)


def answered(tmp_path: Path, *names_answers: tuple[str, str]) -> tuple[list[Finding], Path]:
    found = [studies.load(write(tmp_path, name, answer)) for name, answer in names_answers]
    place = answering.new_set(tmp_path / "experiments")
    told: list[Finding] = []
    made = answering.answer(found, "quick", place, ["testbed"], lambda _: None, told.append)
    assert told == made
    return made, place


def test_an_answer_leaves_data_figures_and_a_page(tmp_path: Path) -> None:
    (finding,), place = answered(tmp_path, ("mine", "answer"))
    assert finding.status == "PASS" and finding.evidence == [Evidence("seen", "PASS", [])]
    assert {file.name for file in (place / "mine").iterdir()} == {
        "study.json", "table.md", "data.json", "mine.svg", "mine.pdf",
    }  # fmt: skip
    assert answering.findings(place) == [finding]
    assert "| ratio & more | 1.60× | 1–2× | 1.50× | yes |" in (place / "mine/table.md").read_text()
    page = answering.write_page(place, ["testbed", "experiment", "mine"]).read_text()
    for part in (
        "mine",
        "1.60×",
        "1–2×",
        "1.50×",
        "ratio &amp; more",
        "Is it so?",
        "Note.",
        "<svg",
    ):
        assert part in page
    assert "<b>" not in page
    answering.judge([finding])


def test_one_study_that_fails_does_not_hide_the_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, place = answered(tmp_path, ("a", "broken"), ("b", "defective"), ("c", "answer"))
    assert [each.status for each in made] == ["FAIL", "FAIL", "PASS"]
    assert made[0].failed.startswith("too much") and "ZeroDivisionError" in made[1].failed
    assert "Traceback" in capsys.readouterr().err
    page = answering.write_page(place, ["testbed"]).read_text()
    assert "There is no answer: too much" in page
    with pytest.raises(ProgramError, match="2 of 3 experiments have no answer, the first is a"):
        answering.judge(made, accept_unfaithful=True)


def test_what_cannot_be_drawn_or_kept_costs_no_other_study_its_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, place = answered(tmp_path, ("a", "undrawable"), ("b", "unkeepable"), ("c", "answer"))
    assert [each.status for each in made] == ["FAIL", "FAIL", "PASS"]
    assert made[0].figures == [] and len(made[0].rows) == 1  # the table is not lost with it
    assert "object cannot be stored" in made[1].failed
    assert capsys.readouterr().err.count("Traceback") == 2
    page = answering.write_page(place, ["testbed"]).read_text()
    assert page.count("There is no answer") == 2 and page.count("ratio &amp; more") == 2
    assert "ratio & more" in "\n".join(lines(made[0]))


def test_figures_that_are_no_numbers_are_told_and_the_page_is_there(tmp_path: Path) -> None:
    (finding,), place = answered(tmp_path, ("mine", "endless"))
    assert [row.measured for row in finding.rows][:2] == [None, None]
    assert finding.rows[0].note == "By hand; came out as inf"
    assert finding.rows[1].note == "came out as nan"
    assert isinstance(last := finding.rows[2].measured, Interval)
    assert (last.value, last.low, last.high) == (1.5, None, 2.0)
    assert answering.findings(place) == [finding]
    assert "came out as inf" in answering.write_page(place, ["testbed"]).read_text()
    with pytest.raises(UnfaithfulError, match="the first reason: none was given"):
        answering.judge([finding])


def test_an_answer_that_cannot_be_read_is_told_before_anything_runs(tmp_path: Path) -> None:
    _, place = answered(tmp_path, ("mine", "answer"))
    (place / "other").mkdir()
    (place / "other" / "study.json").write_text('{"name": "other"}')
    done: list[Finding] = []
    with pytest.raises(NotFoundError, match=r"other/study\.json is no answer"):
        answering.answer([studies.find("mine", tmp_path)], "quick", place, ["testbed"],
                         lambda _: None, done.append)  # fmt: skip
    assert not done
    with pytest.raises(NotFoundError, match=r"other/study\.json is no answer"):
        answering.write_page(place, ["testbed"])


def test_a_set_that_somebody_is_at_is_refused(tmp_path: Path) -> None:
    _, place = answered(tmp_path, ("mine", "answer"))
    found = [studies.find("mine", tmp_path)]
    with alone(place), pytest.raises(ConflictError, match="is being run already"):
        answering.answer(found, "quick", place, ["testbed"], lambda _: None, lambda _: None)


def test_runs_that_may_not_be_believed_decide_the_exit_status(tmp_path: Path) -> None:
    (finding,), _ = answered(tmp_path, ("mine", "answer"))
    doubtful = msgspec.structs.replace(finding, evidence=[Evidence("a", "FAIL", ["a drop"])])
    with pytest.raises(UnfaithfulError, match="mine; the first reason: a drop"):
        answering.judge([doubtful])
    answering.judge([doubtful], accept_unfaithful=True)
