"""The tables of a report, as rows of text: what was predicted and measured, figures, checks."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from testbed.fidelity.checks import Check
from testbed.metrics import NOTHING, label, names
from testbed.report.series import KINDS
from testbed.report.words import Words, shown, spaced, whole
from testbed.results.foreseen import apart, told

Summaries = Mapping[str, Mapping[str, Any]]

_INTERVAL = "interval_"  # before the name of the figure that it is of
_MOST_COLUMNS = 10  # that a page is wide enough for


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

    @property
    def begins(self) -> set[int]:
        """Columns with which a group begins, but for the first two: they are set apart."""
        ends = list(accumulate(columns for _, columns in self.groups))
        return set(ends[1:-1])


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
    sides = ("predicted", "measured")
    if 3 * len(beside) > _MOST_COLUMNS:
        each_line = [
            [words.figure(name) if number == 0 else "", variant,
             *(words.value(name, pair.get(side)) for side in sides), _off(apart(pair))]
            for name in told(beside)
            for number, (variant, pair) in enumerate(
                (variant, figures.get(name, {})) for variant, figures in beside.items()
            )
        ]  # fmt: skip
        return Table(["", "", *sides, "difference"], each_line, numeric=2)
    rows = []
    for name in told(beside):
        row = [words.figure(name)]
        for figures in beside.values():
            pair = figures.get(name, {})
            row += [words.value(name, pair.get(side)) for side in sides]
            row.append(_off(apart(pair)))
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


def _off(found: float | bool | None) -> str:
    if found is None:
        return ""
    if isinstance(found, bool):
        return "as predicted" if found else "not as predicted"
    return spaced(f"{found:+.1%}")


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
    """Rows in the summaries as one table.

    What names a row is its own name, or its text; its numbers are columns of each variant.  Where
    that would be too wide, each variant has a line of its own below a row's name.
    """
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for variant, summary in summaries.items():
        for row_name, row in _named_rows(summary.get(name), words):
            found.setdefault(row_name, {})[variant] = row
    rows = [row for each in found.values() for row in each.values()]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    if not columns:
        return None
    variants = [v for v in summaries if any(v in each for each in found.values())]
    title, about = titled.get(name, (label(name), ""))
    heads = [label(column) for column in columns]

    def cells(row: Mapping[str, Any] | None) -> list[str]:
        if row is None:
            return [NOTHING] * len(columns)
        return [shown(f"{name}.{column}", row.get(column)) for column in columns]

    if len(variants) * len(columns) > _MOST_COLUMNS and len(variants) > 1:
        each_line = [
            [row_name if number == 0 else "", variant, *cells(of_variant[variant])]
            for row_name, of_variant in found.items()
            for number, variant in enumerate(v for v in variants if v in of_variant)
        ]
        return Table(["", "", *heads], each_line, title, about, numeric=2)
    return Table(
        ["", *heads * len(variants)],
        [
            [row_name, *(cell for v in variants for cell in cells(of_variant.get(v)))]
            for row_name, of_variant in found.items()
        ],
        title,
        about,
        groups=(("", 1), *((variant, len(columns)) for variant in variants)),
    )


def _named_rows(value: Any, words: Words) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Name and numbers of each row of a list, or of a mapping."""
    if isinstance(value, Mapping):
        for name, row in value.items():
            yield words.value("", name).replace("_", " "), _flat(row)
        return
    for row in value or []:
        if isinstance(row, Mapping):
            said = {key: text for key, text in row.items() if isinstance(text, str)}
            yield _row_name(said, words), _flat({k: v for k, v in row.items() if k not in said})


def _row_name(said: Mapping[str, str], words: Words) -> str:
    if {"kind", "role", "direction"} <= set(said):  # a class of NIC, as it is called everywhere
        kind = {**KINDS, "mgmt": "management"}.get(said["kind"], said["kind"])
        return f"{said['role']} {kind} {said['direction']}".strip()
    return " ".join(words.value("", text) for text in said.values())


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Its columns; a mapping in it is a column for each of its keys."""
    found: dict[str, Any] = {}
    for column, value in row.items():
        if isinstance(value, Mapping):
            found |= {f"{column}.{key}": inner for key, inner in value.items()}
        else:
            found[column] = value
    return found


def tabled(summaries: Summaries, titled: Mapping[str, tuple[str, str]]) -> list[str]:
    """Names of what the summaries hold as rows: lists, and what is to be a table by its title."""
    found = dict.fromkeys(
        name
        for summary in summaries.values()
        for name, value in summary.items()
        if (isinstance(value, list) and any(isinstance(row, Mapping) for row in value))
        or (name in titled and isinstance(value, Mapping))
    )
    return list(found)


def calibration(run: Mapping[str, Any]) -> Table:
    """What each class of link reached before the load, and how quick it was when idle."""
    links = (run.get("calibration") or {}).get("links", [])
    rows = [
        [
            f"{link['role'] or 'management'} {KINDS.get(link['kind'], 'network')} "
            f"{link['direction']}",
            shown("_bps", link["rate_bps"]),
            shown("_bps", link["reached_bps"]),
            f"{shown('_bps', link['least_bps'])} \u2013 {shown('_bps', link['most_bps'])}",
            shown("share", link.get("counted_share")),
            shown("_s", link["round_trip_s"]),
            link.get("note", ""),
        ]
        for link in links
    ]
    heads = ["", "line", "reached", "allowed", "counted by its shaper", "idle round trip"]
    remarks = any(row[-1] for row in rows)
    return Table(
        [*heads, "remark"] if remarks else heads, [row[: len(heads) + remarks] for row in rows]
    )


def figures(summaries: Summaries, words: Words, apart: Collection[str] = ()) -> Table:
    """All figures of all variants; what consists of several is a row for each.

    Args:
        apart: names of those that have a table of their own.
    """
    rows = []
    for name in names(summaries):
        if name in apart or name.startswith(_INTERVAL):
            continue
        values = {variant: summary.get(name) for variant, summary in summaries.items()}
        for said, cells in _rows(words.figure(name), name, list(values.values()), words):
            if set(cells) != {NOTHING}:
                sure = [interval(name, summary) for summary in summaries.values()]
                rows.append(
                    [
                        said,
                        *(
                            f"{c} [{whole(i)}]" if i else c
                            for c, i in zip(cells, sure, strict=True)
                        ),
                    ]
                )
    return Table(["", *summaries], rows)


def interval(name: str, summary: Mapping[str, Any]) -> str:
    """Where the true value of a figure is with 95 % confidence, if the summary says so."""
    ends = summary.get(f"{_INTERVAL}{name}")
    if not isinstance(ends, list) or len(ends) != 2 or None in ends:
        return ""
    return f"{shown(name, ends[0])} \u2013 {shown(name, ends[1])}"


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
        bounds = dict.fromkeys(spaced(check.bound) for check in of_name.values() if check.bound)
        cells = [_cell(of_name.get(variant)) for variant in variants]
        rows.append(CheckRow(name, "; ".join(bounds), ok, cells))
    return sorted(rows, key=lambda row: (row.ok is True, row.ok is None))


def _cell(check: Check | None) -> tuple[bool | None, str] | None:
    if check is None:
        return None
    return check.ok, spaced(check.measured) + (
        f" ({check.reason})" if check.reason and not check.ok else ""
    )
