"""A row is inside, outside, or left open by its interval; a finding is worth what its runs are."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.experiment.study import Evidence, Expected, Finding, Row, about
from testbed.experiment.table import lines, shown, summary
from testbed.results.intervals import Interval


def measured(value: float, low: float | None = None, high: float | None = None) -> Interval:
    return Interval(value, low, high, None if low is None else 0.95, 1 if low is None else 20)


@pytest.mark.parametrize(
    ("found", "inside"),
    [
        (measured(1.5), "yes"),
        (measured(1.4), "yes"),
        (measured(1.7), "no"),
        (measured(1.5, 1.45, 1.55), "yes"),
        (measured(1.5, 1.45, 1.65), "unsure"),
        (measured(1.65, 1.55, 1.75), "unsure"),
        (measured(1.7, 1.65, 1.75), "no"),
        (measured(1.7, 1.3, 2.1), "unsure"),
    ],
)
def test_an_interval_that_reaches_over_an_end_leaves_it_open(found: Interval, inside: str) -> None:
    assert Row("x", found, Expected(1.4, 1.6)).inside == inside


def test_words_are_compared_as_words_and_nothing_is_compared_with_nothing() -> None:
    assert Row("bound by", "storage", "storage").inside == "yes"
    assert Row("bound by", "load", "storage").inside == "no"
    assert Row("x", None, Expected(1, 2)).inside is None
    assert Row("x", measured(1.0)).inside is None


@given(st.floats(0.1, 10), st.floats(0.1, 10), st.floats(0.1, 10))
def test_how_far_off_is_nothing_inside_and_signed_outside(a: float, b: float, value: float) -> None:
    row = Row("x", measured(value), Expected(min(a, b), max(a, b)), paper=a)
    assert row.off_expected is not None and row.off_paper == pytest.approx(value / a - 1)
    assert (row.off_expected == 0) == (row.inside == "yes")
    assert (row.off_expected < 0) == (value < min(a, b))


def test_a_range_without_one_end() -> None:
    assert Row("x", measured(0.9), Expected(None, 1.2)).inside == "yes"
    assert Row("x", measured(1.3), Expected(None, 1.2)).off_expected == pytest.approx(0.1 / 1.2)
    assert Row("x", measured(3.5), Expected(3.0, None)).inside == "yes"


def finding(evidence: list[Evidence], rows: list[Row], failed: str = "") -> Finding:
    return Finding(
        "fig0", "Is it so?", "A paper, figure 0", "About it.", "quick", 61.0, evidence, rows,
        ["A note."], [], failed,
    )  # fmt: skip


def test_a_finding_passes_if_it_has_an_answer_and_all_its_runs_passed() -> None:
    good, bad = Evidence("a", "PASS", []), Evidence("b", "FAIL", ["a drop"])
    outside = Row("x", measured(9.0), about(1.0, 0.1))
    assert finding([good], [outside]).status == "PASS"
    assert finding([good, bad], []).status == "FAIL"
    assert finding([good], [], "the machine cannot carry it").status == "FAIL"


def test_a_finding_comes_back_from_its_file_as_it_was() -> None:
    rows = [
        Row("x", measured(1.5, 1.4, 1.6), about(1.5, 0.1), 1.54, "×", "fitted"),
        Row("bound by", "storage", "storage", "storage"),
        Row("nothing", None),
    ]
    before = finding([Evidence("a", "PASS", [])], rows)
    assert msgspec.json.decode(msgspec.json.encode(before), type=Finding) == before


def test_the_table_says_paper_expected_measured_and_how_far_off() -> None:
    row = shown(Row("gain", measured(1.7, 1.65, 1.75), about(1.5, 0.1), 1.54, "×", "fitted"))
    assert row.paper == "1.54×" and row.expected == "1.35–1.65×"
    assert row.measured == "1.70× (1.65–1.75, 95%)"
    assert row.inside == "unsure"
    assert row.off == "+10.4% paper, +3.0% range"
    assert shown(Row("x", measured(2.0), Expected(None, 1.2))).expected == "≤ 1.2"
    assert shown(Row("x", measured(2.0), Expected(3.0), unit="s")).expected == "≥ 3 s"
    assert shown(Row("x", None)).measured == "–"


def test_a_study_in_words_has_its_reasons_rows_and_notes() -> None:
    told = finding(
        [Evidence("a-run", "FAIL", ["a drop"])],
        [Row("gain", measured(9.0), about(1.5, 0.1), note="fitted"), Row("y", None)],
    )
    text = "\n".join(lines(told))
    assert all(word in text for word in ("fig0", "FAIL", "a-run: a drop", "gain", "A note."))
    assert summary(told) == "0 of 1 inside, 1 outside"
    silent = finding([], [], "the machine cannot carry it\nuse another")
    assert summary(silent) == "no answer: the machine cannot carry it"
    assert "the machine cannot carry it" in "\n".join(lines(silent))


def test_large_figures_are_written_as_people_write_them() -> None:
    row = Row(
        "JCT", Interval(10052.3, 9078.2, 111_849.0, 0.95, 12), Expected(8846, 11258), 10052.0, "s"
    )
    told = shown(row)
    assert told.paper == "10050 s" and told.expected == "8850–11300 s"
    assert told.measured == "10050 s (9078–111800, 95%)"
    assert shown(Row("small", Interval(1.2e-6, None, None, None, 1))).measured == "1.2e-06"
