"""The tables of a report, as rows of text: what was predicted and measured, figures, checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from testbed.fidelity.checks import Check
from testbed.metrics import NOTHING, label, names
from testbed.report.words import Words, shown, spaced

Summaries = Mapping[str, Mapping[str, Any]]


class Table(NamedTuple):
    """A table for the page.

    Args:
        header: of the columns.
        rows: cells, as many in each; the first says what the row is of.
        title: above it; none if empty.
        about: a sentence about it.
        numeric: from this column on, figures that are set flush right.
        groups: above the header, names and how many columns each spans; none if empty.
    """

    header: list[str]
    rows: list[list[str]]
    title: str = ""
    about: str = ""
    numeric: int = 1
    groups: tuple[tuple[str, int], ...] = ()


class CheckRow(NamedTuple):
    """A check for all variants.

    Args:
        ok: every variant's; None where it could not be made.
        cells: (ok, what was measured) of each variant; None where it has no such check.
    """

    name: str
    bound: str
    ok: bool | None
    cells: list[tuple[bool | None, str] | None]


def foreseen(run: Mapping[str, Any], summaries: Summaries, words: Words) -> Table:
    """What was predicted of each variant, and what was measured of the same."""
    comparison = run.get("comparison") or {}
    beside = comparison.get("predicted_measured") or _beside(run, summaries)
    beside = {variant: figures for variant, figures in beside.items() if figures}
    rows = []
    for name in dict.fromkeys(name for figures in beside.values() for name in figures):
        row = [words.figure(name)]
        for figures in beside.values():
            pair = figures.get(name, {})
            predicted, measured = pair.get("predicted"), pair.get("measured")
            row += [words.value(name, predicted), words.value(name, measured)]
            row.append(_off(predicted, measured))
        rows.append(row)
    return Table(
        ["", *["predicted", "measured", "difference"] * len(beside)],
        rows,
        groups=(("", 1), *((variant, 3) for variant in beside)),
    )


def _beside(run: Mapping[str, Any], summaries: Summaries) -> dict[str, dict[str, dict[str, Any]]]:
    """The same of a run that does not say it: figures of one name, predicted and measured."""
    predicted = run.get("predicted", {}).get("policies", {})
    speedups = (run.get("comparison") or {}).get("speedup", {})
    found = {}
    for variant, summary in summaries.items():
        factors = [x for x in speedups.get(variant, {}).values() if x is not None]
        reached = {**summary, "speedup": factors[0] if factors else None}
        found[variant] = {
            name: {"predicted": value, "measured": reached[name]}
            for name, value in predicted.get(variant, {}).items()
            if name in reached
        }
    return found


def _off(predicted: Any, measured: Any) -> str:
    for value in (predicted, measured):
        if isinstance(value, bool) or not isinstance(value, int | float):
            return ""
    return spaced(f"{measured / predicted - 1:+.1%}") if predicted else ""


def needs(run: Mapping[str, Any], words: Words) -> Table:
    """What else was predicted: one value for the whole run."""
    predicted = run.get("predicted", {})
    rows = [
        [words.figure(name), words.value(name, value)]
        for name, value in predicted.items()
        if not isinstance(value, Mapping | list) and value is not None
    ]
    return Table(["", "predicted"], rows)


def of_rows(
    name: str, summaries: Summaries, titled: Mapping[str, tuple[str, str]], words: Words
) -> Table | None:
    """A list of rows in the summaries as one table: the first field names a row, the others are
    columns of each variant."""
    lists = {variant: summary.get(name) or [] for variant, summary in summaries.items()}
    rows = {
        variant: [row for row in each if isinstance(row, Mapping)]
        for variant, each in lists.items()
    }
    first = next((row for each in rows.values() for row in each), None)
    if first is None:
        return None
    key, *columns = first
    found: dict[str, dict[tuple[str, str], str]] = {}
    for variant, each in rows.items():
        for row in each:
            cells = found.setdefault(str(row.get(key)), {})
            cells |= {(variant, column): shown(column, row.get(column)) for column in columns}
    places = [(variant, column) for variant, each in rows.items() if each for column in columns]
    title, about = titled.get(name, (label(name), ""))
    return Table(
        ["", *(label(column) for _, column in places)],
        [
            [words.value("", row), *(cells.get(place, NOTHING) for place in places)]
            for row, cells in found.items()
        ],
        title,
        about,
        groups=(("", 1), *((variant, len(columns)) for variant, each in rows.items() if each)),
    )


def lists_of_rows(summaries: Summaries) -> list[str]:
    """Names of what the summaries hold as lists of rows."""
    found = dict.fromkeys(
        name
        for summary in summaries.values()
        for name, value in summary.items()
        if isinstance(value, list) and any(isinstance(row, Mapping) for row in value)
    )
    return list(found)


def figures(summaries: Summaries, words: Words) -> Table:
    """All figures of all variants; what consists of several is a row for each."""
    rows = []
    for name in names(summaries):
        values = {variant: summary.get(name) for variant, summary in summaries.items()}
        for said, cells in _rows(words.figure(name), name, list(values.values()), words):
            if set(cells) != {NOTHING}:
                rows.append([said, *cells])
    return Table(["", *summaries], rows)


def _rows(
    said: str, name: str, values: Sequence[Any], words: Words
) -> Iterator[tuple[str, list[str]]]:
    """What one figure says, in as many rows as it has parts."""
    parts = dict.fromkeys(key for value in values if _has_parts(value) for key in value)
    if not parts:
        yield said, [words.value(name, value) for value in values]
    for part in parts:
        inner = [value.get(part) if isinstance(value, Mapping) else None for value in values]
        # A part without a unit of its own has that of the whole.
        known = shown(part, 1.0) != shown("", 1.0)
        yield from _rows(f"{said}: {words.figure(part)}", part if known else name, inner, words)


def _has_parts(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) != {"p50", "p99", "mean"}


def checks(found: Sequence[Check], variants: Sequence[str]) -> list[CheckRow]:
    """A row for each check; those that did not hold come first."""
    rows = []
    for name in dict.fromkeys(check.name for check in found):
        of_name = {check.variant: check for check in found if check.name == name}
        oks = [check.ok for check in of_name.values()]
        ok = False if False in oks else None if None in oks else True
        bounds = dict.fromkeys(check.bound for check in of_name.values() if check.bound)
        cells = [_cell(of_name.get(variant)) for variant in variants]
        rows.append(CheckRow(name, "; ".join(bounds), ok, cells))
    return sorted(rows, key=lambda row: (row.ok is True, row.ok is None))


def _cell(check: Check | None) -> tuple[bool | None, str] | None:
    if check is None:
        return None
    return check.ok, spaced(check.measured) + (
        f" ({check.reason})" if check.reason and not check.ok else ""
    )
