"""What is marked in the timelines."""

from __future__ import annotations

import polars as pl

from testbed.report.marks import MOST_MARKS, Mark, labels, marks_of
from tests.unit.report import synthetic

KINDS = ("fault", "node-lost")


def test_marks_are_numbered_in_the_order_of_time_and_only_of_what_is_marked() -> None:
    found = marks_of(synthetic.events("a"), "a", KINDS, synthetic.STARTED_S)
    assert [(mark.number, mark.at_s, mark.said.partition(" ")[0]) for mark in found] == [
        (1, 1.5, "fault"), (2, 3.5, "node"),
    ]  # fmt: skip
    assert marks_of(synthetic.events("a"), "b", KINDS, 0.0) == []


def test_numbers_that_would_overlap_are_one_label() -> None:
    marks = [Mark(number, at_s, "") for number, at_s in enumerate((1.0, 5.0, 5.1, 5.2, 9.0), 1)]
    assert labels(marks, 0.5) == [(1.0, "1"), (5.0, "2\u20134"), (9.0, "5")]


def test_events_of_older_runs_are_not_marked() -> None:
    assert marks_of(None, "a", KINDS, 0.0) == []
    assert marks_of(synthetic.events("a").drop("t_s"), "a", KINDS, 0.0) == []


def test_no_more_are_drawn_than_can_be_told_apart() -> None:
    many = pl.concat([synthetic.events("a")] * 30)
    assert len(marks_of(many, "a", KINDS, 0.0)) == MOST_MARKS
