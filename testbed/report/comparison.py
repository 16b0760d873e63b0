"""A comparison for people: what is told on the terminal, and the files."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.markup import escape
from rich.table import Table

from testbed.metrics import NOTHING, label, show, show_interval
from testbed.report.words import brackets
from testbed.results.comparable import shown
from testbed.results.compare import Cell, Comparison, Contestant
from testbed.results.intervals import CONFIDENCE
from testbed.results.statistics import Change
from testbed.terminal import rendered

_MOST_BESIDE = 2  # contestants whose columns fit a terminal


def lines(comparison: Comparison, metrics: Sequence[str]) -> list[str]:
    """The comparison on a terminal.

    Args:
        comparison: of runs.
        metrics: to show, dotted.
    """
    parts: list[str | Table] = []
    for tag, paths in comparison.unfaithful.items():
        parts.append(
            f"[bold red]FAIL[/bold red]  {escape(tag)}: {len(paths)} runs must not be believed: "
            f"{escape(', '.join(path.name for path in paths))}"
        )
    if len(comparison.sides) > 1:
        parts += [f"{escape(side.tag)}  {escape(str(side.runs.path))}" for side in comparison.sides]
    for each in comparison.varied:
        values = zip(comparison.sides, each.values, strict=True)
        said = ", ".join(f"{side.tag} {shown(value)}" for side, value in values)
        named = all("=" in side.tag for side in comparison.sides)  # by what differs, that is
        parts.append(f"compared: {escape(each.key if named else f'{each.key}: {said}')}")
    parts += [f"[yellow]note[/yellow]: {escape(remark)}" for remark in comparison.remarks]
    parts += _answers(comparison)
    rows = [metric for metric in metrics if not _is_nothing(comparison, metric)]
    table = _beside if len(comparison.contestants) <= _MOST_BESIDE else _below
    parts += ["", table(comparison, rows), *footnotes(comparison, rows)]
    nothing = [f"{label(metric)} {show(metric, 0)}" for metric in metrics if metric not in rows]
    if nothing:
        parts.append(escape(f"in every run: {', '.join(nothing)}"))
    return rendered(parts)


def _is_nothing(comparison: Comparison, metric: str) -> bool:
    """Whether a figure is 0 in every run that has it."""
    return not any(
        value
        for each in comparison.contestants
        for value in each.side.runs.values(each.variant, metric).values()
    )


def _answers(comparison: Comparison) -> list[str]:
    """What each contestant is to its baseline, in the metric that its workload names first."""
    compared = comparison.sides[0].runs.runs[0].run.get("comparison", {}).get("speedup", {})
    metric = next((name for factors in compared.values() for name in factors), "")
    said = []
    for each in comparison.contestants:
        change = comparison.metrics.get(metric, {}).get(each.label, Cell(None, None)).change
        if change is not None and change.ratio is not None and each.against is not None:
            chance = {
                True: "",
                False: ", which may be chance",
                None: ", of too few runs to tell from chance",
            }[change.significant()]
            said.append(
                f"[bold]{escape(each.label)}: {escape(factor(change).rstrip(' *?'))}[/bold] "
                f"the {label(metric)} of {escape(each.against)}{chance}"
            )
    return said


def _beside(comparison: Comparison, metrics: Sequence[str]) -> Table:
    """A row for each metric, with columns for each contestant."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for each in comparison.contestants:
        table.add_column(_head(comparison, each, "\n"), justify="right")
        if each.against is not None:
            table.add_column(f"\nover {escape(each.against)}", justify="right", style="bold")
    for metric in metrics:
        row = [label(metric)]
        for each in comparison.contestants:
            cell = comparison.metrics[metric][each.label]
            row.append(show_interval(metric, cell.interval))
            if each.against is not None:
                row.append(factor(cell.change))
        table.add_row(*map(escape, row))
    return table


def _below(comparison: Comparison, metrics: Sequence[str]) -> Table:
    """A row for each metric and contestant: of many, columns would be too narrow to read."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    table.add_column("")
    table.add_column("", justify="right")
    table.add_column("ratio", justify="right", style="bold")
    table.add_column("over")
    for metric in metrics:
        name = label(metric)
        for each in comparison.contestants:
            cell = comparison.metrics[metric][each.label]
            change = [] if each.against is None else [factor(cell.change), each.against]
            value = escape(show_interval(metric, cell.interval))
            table.add_row(name, _head(comparison, each, "  "), value, *map(escape, change))
            name = ""
        table.add_section()
    return table


def _head(comparison: Comparison, one: Contestant, between: str) -> str:
    """What a contestant is called, of how many runs, and whether one must not be believed."""
    count = len(one.side.runs.runs)
    failed = " [bold red]FAIL[/bold red]" if one.side.tag in comparison.unfaithful else ""
    runs = f"[dim]{count} run{'' if count == 1 else 's'}[/dim]"
    return f"{escape(one.label)}{between}{runs}{failed}"


def factor(change: Change | None) -> str:
    """A ratio with its interval, and a sign of whether it is more than chance."""
    if change is None:
        return NOTHING
    ratio = change.ratio
    said = NOTHING
    if ratio is not None:
        said = f"{_digits(ratio.value)}×"
        if ratio.low is not None and ratio.high is not None:
            said += f" [{_digits(ratio.low)} – {_digits(ratio.high)}]"
    return {True: f"{said} *", False: f"{said}  ", None: f"{said} ?"}[change.significant()]


def _digits(ratio: float) -> str:
    """Three of them, zeros too: 2.00 is more than 2."""
    return f"{ratio:#.3g}".rstrip(".")


def footnotes(comparison: Comparison, metrics: Sequence[str]) -> list[str]:
    """What brackets and signs mean, as far as there are any."""
    cells = [cell for metric in metrics for cell in comparison.metrics[metric].values()]
    changes = [cell.change for cell in cells if cell.change is not None]
    said = brackets(cell.interval for cell in cells)
    if any(change.significant() for change in changes):
        said.append(
            f"* more than chance (p ≤ {1 - CONFIDENCE:.2g}, permutation test, each by itself)"
        )
    if any(change.significant() is None for change in changes):
        said.append("? too few runs to tell from chance: 6 pairs can, or 4 runs against 4")
    return said
