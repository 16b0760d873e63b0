"""The page of a sweep: its small multiples, a table of its points, and its runs."""

from __future__ import annotations

import shlex
from pathlib import Path

from testbed.errors import NotFoundError
from testbed.metrics import show_interval
from testbed.report.content import provenance, scenario_text, when
from testbed.report.drawing import save, svg
from testbed.report.multiples import horizontal, medians, metrics, multiples
from testbed.report.presentation import presentation_of
from testbed.report.several import Drawn, Several, put, row_of
from testbed.report.svg import themed
from testbed.report.tables import Table
from testbed.report.words import Words, brackets, spaced, whole
from testbed.results import layout
from testbed.results.comparable import shown
from testbed.results.intervals import Interval
from testbed.results.points import SweepData, load_sweep


def write_sweep(path: Path) -> Path:
    """Write the page of a sweep into its directory, and its figure as files.

    Raises:
        NotFoundError: no run of it is complete.
        UsageError: it may not be written to.
    """
    sweep = load_sweep(path)
    if not sweep.points:
        raise NotFoundError(
            f"no run of the sweep {path} is complete",
            hint="run it: testbed sweep goes on where it ended",
        )
    return write_page(sweep)[-1]


def write_page(sweep: SweepData) -> list[Path]:
    """Write the figure of a sweep as files, and its page.

    Args:
        sweep: with a complete run at least.

    Returns:
        The files, the page last.

    Raises:
        NotFoundError: the figure is asked for with a key or a number that there is not.
        UsageError: they cannot be written.
    """
    drawn = multiples(sweep, horizontal(sweep), metrics(sweep))
    written = save({"multiples": drawn}, sweep.path / layout.FIGURES)
    figure = Drawn(
        "multiples", "Over the grid", "Medians over the repeats of each point, with their "
        "intervals where there are any.", themed(svg(drawn, "Figures of the sweep over its grid")),
    )  # fmt: skip
    page = sweep.path / layout.REPORT
    return [*written, put(_content(sweep, figure, page), page)]


def _content(sweep: SweepData, figure: Drawn, page: Path) -> Several:
    runs = [run for _, of_point in sweep.points for run in of_point.runs]
    failed = sum(run.verdict.status != "PASS" for run in runs)
    asked, first = sweep.asked, runs[0]
    grid = {key: asked.get(key) for key in ("scenario", "set", "grid")}
    complete = f"{len(sweep.points)} of {len(asked['points'])} points, {len(runs)} runs"
    return Several(
        status="FAIL" if failed else "PASS",
        failed=failed,
        title=str(asked.get("name", sweep.path.name)),
        question=" ".join(str(asked.get("description") or "").split()),
        when=f"{complete}; the first on {when(first.run)}",
        remarks=[],
        answer="",
        tiles=[],
        explained=brackets(medians(sweep, metrics(sweep))),
        figures=[figure],
        table=_table(sweep),
        small=[],
        which="point",
        runs=[
            row_of(run, page, _values(values, sweep.keys))
            for values, of_point in sweep.points
            for run in of_point.runs
        ],
        command="testbed " + shlex.join(asked.get("command", [""])[1:]),
        provenance=provenance(first.run),
        scenario=scenario_text({"scenario": grid}),
    )


def _cell(name: str, interval: Interval | None) -> str:
    value, bracket, ends = spaced(show_interval(name, interval)).partition(" [")
    return f"{value} {whole(bracket.strip() + ends)}" if bracket else value


def _values(values: dict[str, object], keys: list[str]) -> str:
    return ", ".join(f"{key.rpartition('.')[2]}={shown(values[key])}" for key in keys)


def _table(sweep: SweepData) -> Table:
    """A row for each point and policy: medians with their intervals."""
    names = metrics(sweep)
    rows = [
        [
            *(shown(values[key]) for key in sweep.keys),
            variant,
            *(_cell(name, runs.median(variant, name)) for name in names),
        ]
        for values, runs in sweep.points
        for variant in runs.variants
    ]
    told = presentation_of(str(sweep.points[0][1].scenario.get("plugin", "")))
    words = Words(told.words, told.values)
    header = [*sweep.keys, "policy", *map(words.dotted, names)]
    return Table(header, rows, "All points", numeric=len(sweep.keys) + 1)
