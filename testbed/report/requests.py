"""Requests as what figures show: where their time went, and which of them tell most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from testbed.report.presentation import Phase, Requests
from testbed.results.writer import VARIANT_COLUMN

Span = tuple[float, float]

MOST_FAILED = 3  # of each kind in the waterfall
MOST_POINTS = 2000  # of requests over time; all that are slow or failed are among them
_SLOW_SHARE = 0.1


class Part(NamedTuple):
    """A stretch of a request's time."""

    name: str
    waiting: bool
    seconds: float


class Chosen(NamedTuple):
    """A request for the waterfall.

    Args:
        why: "median", "p99", "slowest", "failed", "retried".
        row: of the table.
        parts: in order, from its submission on.
    """

    why: str
    row: Mapping[str, Any]
    parts: list[Part]


class Split(NamedTuple):
    """Where time went, in the mean over some requests.

    Args:
        of: which requests.
        requests: how many.
        parts: seconds each, in order; they add up to the mean wait.
    """

    of: str
    requests: int
    parts: list[Part]

    @property
    def seconds(self) -> float:
        """The mean wait."""
        return sum(part.seconds for part in self.parts)


def rows_of(table: pl.DataFrame, variant: str, how: Requests) -> pl.DataFrame:
    """The requests of a variant; none if the table lacks what the presentation names."""
    needed = {VARIANT_COLUMN, how.began, how.answered, how.failed}
    if not needed <= set(table.columns):
        return table.clear()
    return table.filter(pl.col(VARIANT_COLUMN) == variant)


def answered(rows: pl.DataFrame, how: Requests, span: Span | None) -> pl.DataFrame:
    """Requests that got their answer, in the window if there is one, with the column `wait_s`."""
    if rows.is_empty():
        return rows.with_columns(wait_s=pl.lit(0.0))
    chosen = rows.filter((pl.col(how.failed) == "") & (pl.col(how.answered) > 0))
    if span is not None:
        chosen = chosen.filter(pl.col(how.answered).is_between(*span, closed="left"))
    return chosen.with_columns(wait_s=pl.col(how.answered) - pl.col(how.began)).sort("wait_s")


def parts(row: Mapping[str, Any], how: Requests, *, until_answer: bool = False) -> list[Part]:
    """A request's time in its phases.

    A moment that did not come, or not after the one before, makes its phase empty: its time is the
    next one's.
    """
    found: list[Part] = []
    at = float(row[how.began])
    for phase in how.phases:
        until = float(row.get(phase.until) or 0.0)
        spent = until - at if until > at else 0.0
        at += spent
        found += _inner(phase, spent, row)
        if until_answer and phase.until == how.answered:
            break
    return found


def _inner(phase: Phase, spent_s: float, row: Mapping[str, Any]) -> list[Part]:
    if phase.within is None:
        return [Part(phase.name, phase.waiting, spent_s)]
    name, column = phase.within
    inner = min(spent_s, max(0.0, float(row.get(column) or 0.0)))
    return [Part(name, False, inner), Part(phase.name, phase.waiting, spent_s - inner)]


def splits(waits: pl.DataFrame, how: Requests) -> list[Split]:
    """The mean over all requests, and over the slowest tenth.

    Args:
        waits: from `answered`.
    """
    if waits.is_empty():
        return []
    slow = waits.tail(max(1, round(len(waits) * _SLOW_SHARE)))
    return [_mean("all", waits, how), _mean(f"slowest {_SLOW_SHARE:.0%}", slow, how)]


def _mean(of: str, rows: pl.DataFrame, how: Requests) -> Split:
    each = [parts(row, how, until_answer=True) for row in rows.iter_rows(named=True)]
    seconds = np.mean([[part.seconds for part in request] for request in each], axis=0)
    named = [
        Part(part.name, part.waiting, float(mean))
        for part, mean in zip(each[0], seconds, strict=True)
    ]
    return Split(of, len(each), named)


def choose(rows: pl.DataFrame, waits: pl.DataFrame, how: Requests) -> list[Chosen]:
    """The median, the p99 and the slowest request, and some that failed or were tried again.

    Args:
        rows: all of a variant.
        waits: from `answered`.
    """
    found: list[Chosen] = []
    seen: set[int] = set()
    for why, quantile in (("median", 0.5), ("p99", 0.99), ("slowest", 1.0)):
        if waits.is_empty():
            break
        index = round(quantile * (len(waits) - 1))
        if index in seen:  # of few requests one may be several of them
            found[-1] = found[-1]._replace(why=f"{found[-1].why}, {why}")
            continue
        seen.add(index)
        row = waits.row(index, named=True)
        found.append(Chosen(why, row, parts(row, how)))
    if rows.is_empty():
        return found
    failed = rows.filter(pl.col(how.failed) != "")
    others = [("failed", failed)]
    if how.tries in rows.columns:
        well = rows.filter((pl.col(how.failed) == "") & (pl.col(how.tries) > 1))
        others.append(("retried", well))
    for why, some in others:
        for row in some.head(MOST_FAILED).iter_rows(named=True):
            found.append(Chosen(why, row, parts(row, how)))
    return found


def over_time(rows: pl.DataFrame, how: Requests) -> tuple[pl.DataFrame, int]:
    """Requests to draw as points: `began_s`, `wait_s`, `kind`, `failed`; and how many there were.

    Of more than `MOST_POINTS`, those that failed and the slowest hundredth stay, and of the rest
    every k-th.
    """
    kind = pl.col(how.kind) if how.kind in rows.columns else pl.lit("requests")
    wait = pl.col(how.answered) - pl.col(how.began)
    points = rows.select(
        began_s=pl.col(how.began),
        wait_s=wait,
        kind=kind.replace("", "none"),
        failed=pl.col(how.failed) != "",
        come=pl.col(how.answered) > 0,
    )
    # Of a failed request that never got its answer there is no wait to show: it is at 0.
    points = points.with_columns(wait_s=pl.when("come").then("wait_s").otherwise(0.0)).filter(
        pl.col("come") | pl.col("failed")
    )
    points = points.drop("come").sort("began_s")
    total = len(points)
    if total <= MOST_POINTS:
        return points, total
    slow = pl.col("failed") | (pl.col("wait_s") >= pl.col("wait_s").quantile(0.99))
    kept = points.with_row_index().filter(slow | (pl.col("index") % one_in(total) == 0))
    return kept.drop("index"), total


def one_in(total: int) -> int:
    """n, where of `total` requests every n-th is drawn, apart from slow and failed ones."""
    return -(-total // MOST_POINTS)


def distribution(waits: Sequence[float] | pl.Series) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Sorted waits and the share of requests (%) that waited no longer."""
    ordered = np.sort(np.asarray(waits, float))
    return ordered, 100 * np.arange(1, len(ordered) + 1) / max(1, len(ordered))
