"""The table of a study in words, for the terminal and for the page."""

from __future__ import annotations

from typing import NamedTuple

from testbed.experiment.study import Expected, Finding, Row
from testbed.results.intervals import Interval

NOTHING = "–"
HEADINGS = ("", "paper", "expected here", "measured", "inside?", "off")


class Shown(NamedTuple):
    """A row in words; `inside` is "yes", "no", "unsure" or nothing."""

    what: str
    paper: str
    expected: str
    measured: str
    inside: str
    off: str
    note: str


def shown(row: Row) -> Shown:
    """A row in words."""
    return Shown(
        row.what,
        _paper(row),
        _expected(row),
        _measured(row),
        row.inside or NOTHING,
        _off(row),
        row.note,
    )


def markdown(finding: Finding) -> str:
    """The table as Markdown, for an article or an issue."""
    rows = [[*HEADINGS, "note"], ["---"] * (len(HEADINGS) + 1), *map(shown, finding.rows)]
    table = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    about = f"{finding.question} ({finding.source}, {finding.size})"
    return "\n".join([f"**{finding.name}** {finding.status}: {about}", "", *table, ""])


def summary(finding: Finding) -> str:
    """How many rows came out as expected, in a few words."""
    if finding.failed:
        return f"no answer: {finding.failed.splitlines()[0]}"
    compared = [row for row in finding.rows if row.inside is not None]
    counts = [f"{finding.count('yes')} of {len(compared)} inside"]
    for state in ("unsure", "no"):
        if number := finding.count(state):
            counts.append(f"{number} {'outside' if state == 'no' else state}")
    return ", ".join(counts)


def _paper(row: Row) -> str:
    if row.paper is None:
        return NOTHING
    return row.paper if isinstance(row.paper, str) else _number(row.paper, row.unit)


def _expected(row: Row) -> str:
    expected = row.expected
    if expected is None:
        return NOTHING
    if isinstance(expected, str):
        return expected
    match expected:
        case Expected(low=None, high=None):
            return NOTHING
        case Expected(low=None, high=high) if high is not None:
            return f"≤ {_number(high, row.unit)}"
        case Expected(low=low, high=None) if low is not None:
            return f"≥ {_number(low, row.unit)}"
    assert expected.low is not None and expected.high is not None
    space = "" if row.unit in ("", "×") else " "
    return f"{_digits(expected.low, 3)}–{_digits(expected.high, 3)}{space}{row.unit}"


def _measured(row: Row) -> str:
    found = row.measured
    if found is None:
        return NOTHING
    if isinstance(found, str):
        return found
    return _number(found.value, row.unit) + _spread(found)


def _spread(found: Interval) -> str:
    if found.low is None or found.high is None:
        return ""
    sure = "" if found.confidence is None else f", {found.confidence:.0%}"
    return f" ({_digits(found.low, 4)}–{_digits(found.high, 4)}{sure})"


def _off(row: Row) -> str:
    """From the paper's value, and from the expected range."""
    parts = []
    if row.off_paper is not None:
        parts.append(f"{row.off_paper:+.1%} paper")
    if row.off_expected:
        parts.append(f"{row.off_expected:+.1%} range")
    return ", ".join(parts)


def _number(value: float, unit: str = "") -> str:
    shown = _digits(value, 4 if abs(value) >= 10 else 3)
    if unit == "×":
        return f"{value:.2f}×" if abs(value) < 10 else f"{shown}×"
    return f"{shown} {unit}".rstrip()


def _digits(value: float, digits: int) -> str:
    """So many significant digits; large figures as people write them, 10050 and not 1.005e+04."""
    text = f"{value:.{digits}g}"
    return f"{float(text):.0f}" if "e+" in text else text


def lines(finding: Finding) -> list[str]:
    """A study for the terminal: what its runs are worth, the table, what to know of it."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from testbed.terminal import rendered

    colour = "green" if finding.status == "PASS" else "red"
    parts: list[object] = [
        f"[bold]{escape(finding.name)}[/bold] [{colour}]{finding.status}[/{colour}]  "
        f"{escape(finding.question)} ({escape(finding.source)}, {finding.size})"
    ]
    parts += [
        f"  • {escape(each.run)}: {escape(reason)}"
        for each in finding.evidence
        for reason in each.reasons
    ]
    if finding.failed:
        parts.append(f"[red]no answer:[/red] {escape(finding.failed)}")
    if finding.failed and not finding.rows:
        return rendered([*parts, ""])
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="right" if 0 < number < 4 else "left")
    for row in map(shown, finding.rows):
        table.add_row(*(escape(cell) for cell in row[: len(HEADINGS)]))
    notes = [f"{row.what}: {row.note}" for row in finding.rows if row.note] + finding.notes
    return rendered([*parts, table, *(f"  {escape(note)}" for note in notes), ""])
