"""What is marked in the timelines: moments at which something was done to the cluster, or happened.

Marks are numbered in the order of time; figures have the numbers, and a list says what they were.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import polars as pl

from testbed.results.writer import VARIANT_COLUMN

MOST_MARKS = 40  # of a variant: more would hide what they are drawn over


class Mark(NamedTuple):
    """A moment.

    Args:
        number: from 1.
        at_s: since the start of the variant.
        said: what it was.
    """

    number: int
    at_s: float
    said: str


def labels(marks: Sequence[Mark], apart_s: float) -> list[tuple[float, str]]:
    """Numbers for a figure, (where, what): of marks that are closer than `apart_s` one label."""
    found: list[tuple[float, int, int]] = []
    for mark in marks:
        if found and mark.at_s - found[-1][0] < apart_s:
            found[-1] = (found[-1][0], found[-1][1], mark.number)
        else:
            found.append((mark.at_s, mark.number, mark.number))
    return [(at, str(a) if a == b else f"{a}\u2013{b}") for at, a, b in found]


def marks_of(
    events: pl.DataFrame | None, variant: str, kinds: Collection[str], started_s: float
) -> list[Mark]:
    """The marks of a variant, the first `MOST_MARKS` of them.

    Args:
        events: the table, if there is one.
        variant: whose.
        kinds: of the events that are marked.
        started_s: of time.monotonic().
    """
    needed = {VARIANT_COLUMN, "t_s", "kind", "process", "detail"}
    if events is None or not needed <= set(events.columns):
        return []
    chosen = events.filter(
        (pl.col(VARIANT_COLUMN) == variant) & pl.col("kind").is_in(list(kinds))
    ).sort("t_s", maintain_order=True)
    return [
        Mark(number, row["t_s"] - started_s, _said(row["kind"], row["process"], row["detail"]))
        for number, row in enumerate(chosen.head(MOST_MARKS).iter_rows(named=True), start=1)
    ]


def _said(kind: str, process: str, detail: str) -> str:
    """An event in words; who is told by the detail as well is not named twice."""
    what = kind.replace("-", " ")
    if detail.startswith(f"{process}:") or not process:
        return f"{what}: {detail}"
    return f"{what} ({process}): {detail}" if detail else f"{what} ({process})"
