"""The page of several runs: a set of repeats, runs and sets that are compared, a sweep.

What it says of a comparison is `testbed.results.compare`'s, and it draws what `testbed compare`
draws; of a sweep: `testbed.report.sweeps`.  Each run keeps
a report of its own, which the page names.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from testbed.errors import UsageError, no_space
from testbed.metrics import NOTHING
from testbed.report.comparison import factor, footnotes
from testbed.report.content import provenance, scenario_text, when
from testbed.report.drawing import save, svg
from testbed.report.html import rendered
from testbed.report.overlaid import figures, in_parts
from testbed.report.presentation import presentation_of
from testbed.report.svg import themed
from testbed.report.tables import Table
from testbed.report.words import Words, shown, spaced, whole
from testbed.results import layout
from testbed.results.comparable import shown as shown_value
from testbed.results.compare import Cell, Comparison, Contestant, chosen, compare
from testbed.results.load import RunData, document_of
from testbed.results.writer import write_json, write_whole

_MOST_REASONS = 3
_MOST_BESIDE = 2  # policies or sides whose columns fit a page of paper
_CHANCE = {
    True: "more than chance",
    False: "may be chance",
    None: "too few runs to tell from chance",
}
_FIGURES = {
    "metrics": ("Figure by figure", "Medians over the runs, with their intervals; each dot is a "
                "run. Figures in which nothing differs are left out."),
    "first_token": ("Time to first token", "Share of the requests of the steady windows that had "
                    "their first token within this time: all runs together, and each run thin."),
    "nic_rates": ("Load of the NICs over time", "All NICs of a class together, means of half a "
                  "second, of the first run of each; 0 is where its steady window opens."),
}  # fmt: skip


class Tile(NamedTuple):
    """The answer of one policy."""

    variant: str
    value: str
    interval: str
    factor: str
    chance: str


class Drawn(NamedTuple):
    """A figure of the page."""

    name: str
    title: str
    caption: str
    drawn: str


class Row(NamedTuple):
    """A run of the page.

    Args:
        report: the place of its report, seen from the page; empty if it has none.
        of: whose run it is.
        reasons: the first few of why its verdict is FAIL; `more` others.
    """

    name: str
    report: str
    of: str
    seed: int
    order: str
    status: str
    reasons: list[str]
    more: int


class Several(NamedTuple):
    """What the page says; text, and drawings as SVG."""

    status: str
    failed: int
    title: str
    question: str
    when: str
    remarks: list[str]
    answer: str
    tiles: list[Tile]
    explained: list[str]
    figures: list[Drawn]
    table: Table
    small: list[Drawn]
    which: str
    runs: list[Row]
    command: str
    provenance: list[tuple[str, str]]
    scenario: str


def write_set(path: Path) -> Path:
    """Write the page of a set of repeats into its directory, and its figures as files.

    Raises:
        NotFoundError: no run of it is complete.
        UsageError: it may not be written to.
    """
    found = compare([path], accept_unfaithful=True)  # verdicts stand on the page
    return write(
        found, chosen(found, ()), path, document_of(path / layout.SET).get("command", [""])
    )


def write_comparison(
    comparison: Comparison, metrics: Sequence[str], out: Path, argv: Sequence[str]
) -> Path:
    """Write a comparison as files: its page, comparison.json, and figures as SVG and PDF.

    Args:
        comparison: of runs and sets.
        metrics: to draw, dotted.
        out: directory of all runs; a new one is made in it.
        argv: the command line, which is written down.

    Returns:
        The page.

    Raises:
        UsageError: it cannot be written there.
    """
    path = layout.new_run(out, "comparison")
    write_json(path / "comparison.json", {"command": list(argv), **comparison.as_json()})
    return write(comparison, metrics, path, argv)


def write(
    comparison: Comparison, metrics: Sequence[str], directory: Path, argv: Sequence[str]
) -> Path:
    """Write the page of a comparison, and its figures as files.

    Args:
        comparison: of runs and sets.
        metrics: to show, dotted.
        directory: where the page is to be.
        argv: the command line.

    Returns:
        The page.

    Raises:
        UsageError: it cannot be written there.
    """
    drawn = figures(comparison, metrics)
    save(drawn, directory / layout.FIGURES)
    whole_figures = {name: [each] for name, each in drawn.items()}
    parts = whole_figures | ({"metrics": in_parts(comparison, metrics)} if drawn else {})
    said = {
        name: "".join(svg(part, said=_FIGURES[name][0]) for part in each)
        for name, each in parts.items()
        if each
    }
    page = directory / layout.REPORT
    return put(content(comparison, metrics, said, page, argv), page)


def put(content: Several, page: Path) -> Path:
    """Write a page.

    Raises:
        UsageError: it cannot be written there.
    """
    try:
        write_whole(page, rendered("several.html.j2", p=content).encode())
    except OSError as error:
        if no_space(error):
            raise  # it says so itself
        raise UsageError(
            f"the page {page} cannot be written: {error.strerror}",
            hint="choose a directory of yours",
        ) from None
    return page


def content(
    comparison: Comparison,
    metrics: Sequence[str],
    drawn: Mapping[str, str],
    page: Path,
    argv: Sequence[str],
) -> Several:
    """What the page says.

    Args:
        comparison: of runs and sets.
        metrics: to show, dotted.
        drawn: figures by their names, as SVG.
        page: where it is to be, for what it refers to.
        argv: the command line.
    """
    runs = [run for side in comparison.sides for run in side.runs.runs]
    first = runs[0]
    presentation = presentation_of(str(first.run.get("scenario", {}).get("plugin", "")))
    words = Words(presentation.words, presentation.values)
    failed = sum(run.verdict.status != "PASS" for run in runs)
    answer = _answer(comparison, presentation.answer)
    return Several(
        status="FAIL" if failed else "PASS",
        failed=failed,
        title=_title(comparison),
        question=_question(comparison),
        when=_when(comparison),
        remarks=[spaced(remark) for remark in comparison.remarks],
        answer=words.figure(answer),
        tiles=[_tile(each, answer, comparison) for each in comparison.contestants]
        if answer in comparison.metrics
        else [],
        explained=[spaced(line) for line in footnotes(comparison, metrics)],
        figures=_drawn(drawn, "first_token", "nic_rates"),
        table=_table(comparison, metrics, words),
        small=_drawn(drawn, "metrics"),
        which="of" if len(comparison.sides) > 1 else "repeat",
        runs=_rows(comparison, page),
        command="testbed " + shlex.join(argv[1:]),
        provenance=provenance(first.run),
        scenario=scenario_text(first.run),
    )


def _drawn(drawn: Mapping[str, str], *names: str) -> list[Drawn]:
    return [Drawn(n, *_FIGURES[n], themed(drawn[n])) for n in names if n in drawn]


def _title(comparison: Comparison) -> str:
    names = dict.fromkeys(
        str(side.runs.scenario.get("name", side.tag)) for side in comparison.sides
    )
    return " and ".join(names)


def _question(comparison: Comparison) -> str:
    """What differs between the sides; of a set, what its scenario asks."""
    differences = [
        f"{each.key}: " + " against ".join(shown_value(value) for value in each.values)
        for each in comparison.varied
    ]
    if differences:
        return "; ".join(differences)
    scenario = comparison.sides[0].runs.scenario
    return " ".join(str(scenario.get("description") or "").split())


def _when(comparison: Comparison) -> str:
    counts = [
        f"{len(side.runs.runs)} of {side.runs.asked} runs"
        if len(comparison.sides) == 1
        else f"{side.tag} ({side.runs.path.name}): {len(side.runs.runs)} of {side.runs.asked} runs"
        for side in comparison.sides
    ]
    runs = [run.run for side in comparison.sides for run in side.runs.runs]
    began = min(runs, key=lambda run: str(run.get("started", "")))
    return f"{', '.join(counts)}; the first on {when(began)}"


def _answer(comparison: Comparison, presented: str) -> str:
    """The metric that answers: the workload's, else what its runs compare policies by."""
    if presented in comparison.metrics:
        return presented
    compared = comparison.sides[0].runs.runs[0].run.get("comparison", {}).get("speedup", {})
    return next((name for factors in compared.values() for name in factors), "")


def _tile(each: Contestant, metric: str, comparison: Comparison) -> Tile:
    cell = comparison.metrics[metric].get(each.label, Cell(None, None))
    value, low, high = _interval(metric, cell)
    sure = "" if cell.interval is None or cell.interval.confidence is None else (
        spaced(f"{cell.interval.confidence:.0%} interval {low} \u2013 {high}")
    )  # fmt: skip
    change = cell.change
    if each.against is None or change is None:
        return Tile(each.label, value, sure, "", "")
    said = spaced(factor(change).rstrip(" *?"))
    return Tile(each.label, value, sure, f"{said} {each.against}", _CHANCE[change.significant()])


def _interval(metric: str, cell: Cell) -> tuple[str, str, str]:
    """The median, and both ends of its interval."""
    one = cell.interval
    if one is None:
        return NOTHING, "", ""
    ends = ("" if end is None else shown(metric, end) for end in (one.low, one.high))
    return shown(metric, one.value), *ends  # type: ignore[return-value]


def _table(comparison: Comparison, metrics: Sequence[str], words: Words) -> Table:
    """Metric by metric: medians with intervals, and what each is to its baseline.

    Of more than two, each has a line of its own: columns would be cut off on paper.
    """
    if len(comparison.contestants) > _MOST_BESIDE:
        return _below(comparison, metrics, words)
    header, groups = [""], [("", 1)]
    for each in comparison.contestants:
        header.append("median")
        if each.against is not None:
            header.append(f"over {each.against}")
        groups.append((each.label, 1 if each.against is None else 2))
    rows = []
    for metric in metrics:
        row = [words.dotted(metric)]
        for each in comparison.contestants:
            cell = comparison.metrics[metric][each.label]
            row.append(_median(metric, cell))
            if each.against is not None:
                row.append(_ratio(cell))
        if set(row[1:]) != {NOTHING}:
            rows.append(row)
    return Table(header, rows, "All figures", groups=tuple(groups))


def _below(comparison: Comparison, metrics: Sequence[str], words: Words) -> Table:
    rows = []
    for metric in metrics:
        cells = comparison.metrics[metric]
        medians = [_median(metric, cells[each.label]) for each in comparison.contestants]
        if set(medians) == {NOTHING}:
            continue
        for number, each in enumerate(comparison.contestants):
            against = each.against is not None
            rows.append(
                [words.dotted(metric) if number == 0 else "", each.label, medians[number],
                 _ratio(cells[each.label]) if against else "",
                 f"over {each.against}" if against else ""]
            )  # fmt: skip
    return Table(["", "", "median", "ratio", ""], rows, "All figures", numeric=2)


def _median(metric: str, cell: Cell) -> str:
    value, low, high = _interval(metric, cell)
    ends = whole(f"[{low} \u2013 {high}]")
    return f"{value} {ends}" if low and high else value


def _ratio(cell: Cell) -> str:
    return NOTHING if cell.change is None else whole(factor(cell.change).strip())


def _rows(comparison: Comparison, page: Path) -> list[Row]:
    several = len(comparison.sides) > 1
    return [
        row_of(run, page, side.tag if several else str(number))
        for side in comparison.sides
        for number, run in zip(side.runs.numbers, side.runs.runs, strict=True)
    ]


def row_of(run: RunData, page: Path, of: str) -> Row:
    """A run as a row of a page.

    Args:
        run: of them.
        page: where the page is.
        of: whose run it is, or which.
    """
    reasons = [spaced(reason) for reason in run.verdict.reasons]
    report = run.path / layout.REPORT
    order: list[Any] = run.run.get("order") or list(run.policies)
    return Row(
        run.path.name,
        os.path.relpath(report.resolve(), page.parent.resolve()) if report.is_file() else "",
        of,
        int(run.run["seed"]),
        ", then ".join(map(str, order)),
        run.verdict.status,
        reasons[:_MOST_REASONS],
        len(reasons[_MOST_REASONS:]),
    )
