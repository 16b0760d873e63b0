"""Small multiples: a sweep's figures over one key, a panel for each combination of the others."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from testbed.errors import NotFoundError
from testbed.metrics import axis
from testbed.report.drawing import (
    COLOURS,
    GREY,
    MARKERS,
    explain,
    figure,
    legend_of_all,
    plain,
    warn,
)
from testbed.report.words import brackets
from testbed.results.comparable import shown
from testbed.results.intervals import Interval
from testbed.results.points import SweepData

_MOST_COLUMNS = 6
_MOST_TICKS = 8


def horizontal(sweep: SweepData) -> str:
    """The key of the horizontal axis: as asked for, else the first whose values are numbers."""
    numeric = [key for key, values in sweep.asked["grid"].items() if all(map(_number, values))]
    return str(sweep.asked["figure"]["x"] or (numeric or sweep.keys)[0])


def metrics(sweep: SweepData) -> list[str]:
    """The metrics that the figure shows: as asked for, else what policies are compared by.

    Raises:
        NotFoundError: no run has such a number.
    """
    known = list(
        dict.fromkeys(
            name for _, runs in sweep.points for v in runs.variants for name in runs.metrics(v)
        )
    )
    wanted = list(sweep.asked["figure"]["metrics"])
    for name in wanted:
        if known and name not in known:
            raise NotFoundError(
                f"no run of {sweep.path.name} has a number called {name!r}",
                hint="correct figure.metrics in its file and give the same command, which makes no "
                f"run again; numbers: {', '.join(known)}",
            )
    if wanted:
        return wanted
    by_workload = [
        metric
        for _, runs in sweep.points
        for run in runs.runs
        for factors in run.run.get("comparison", {}).get("speedup", {}).values()
        for metric in factors
    ]
    return [name for name in dict.fromkeys(by_workload) if name in known] or known[:2]


def medians(sweep: SweepData, names: Sequence[str]) -> list[Interval | None]:
    """Of all points and policies."""
    return [
        runs.median(variant, name)
        for _, runs in sweep.points
        for variant in runs.variants
        for name in names
    ]


def multiples(sweep: SweepData, x: str, rows: Sequence[str]) -> Figure:
    """A row for each metric, a column for each combination of the other keys, a line a policy.

    Medians over the repeats, with their intervals where there are any.

    Args:
        sweep: with a complete run at least.
        x: key of the horizontal axis.
        rows: dotted names of metrics.
    """
    others = [key for key in sweep.keys if key != x]
    columns = list(itertools.product(*(sweep.asked["grid"][key] for key in others)))
    wide = min(len(columns), _MOST_COLUMNS)
    deep = -(-len(columns) // wide)
    drawn = figure(3.0 + 2.4 * wide, 0.5 + 2.1 * deep * len(rows))
    panels = drawn.subplots(deep * len(rows), wide, squeeze=False, sharex=True)
    for row, metric in enumerate(rows):
        block = list(panels[row * deep : (row + 1) * deep].flat)
        top = 0.0
        for axes, column in zip(block, columns, strict=False):
            fixed = dict(zip(others, column, strict=True))
            _panel(axes, sweep, x, fixed, metric)
            top = max(top, axes.get_ylim()[1])
        for number, axes in enumerate(block):
            axes.set_visible(number < len(columns))
            axes.set_ylim(0 if axes.get_ylim()[0] >= 0 else None, top)
            if number % wide == 0:
                axes.set_ylabel(axis(metric)[0], color=GREY, fontsize=8)
    for axes in panels[-1]:
        axes.set_xlabel(x, color=GREY, fontsize=8)
    legend_of_all(drawn, 7)
    explain(drawn, brackets(medians(sweep, rows), "bars"))
    failed = sum(len(runs.unfaithful) for _, runs in sweep.points)
    warn(drawn, f"verdict FAIL: {failed} runs must not be believed" if failed else "")
    return drawn


def _panel(axes: Axes, sweep: SweepData, x: str, fixed: Mapping[str, Any], metric: str) -> None:
    places = list(sweep.asked["grid"][x])
    is_number = all(map(_number, places))
    unit = axis(metric)[1]
    series: dict[str, list[tuple[float, Interval]]] = {}
    for values, runs in sweep.points:
        if all(values[key] == value for key, value in fixed.items()):
            at = float(values[x]) if is_number else float(places.index(values[x]))
            for variant in runs.variants:
                if (interval := runs.median(variant, metric)) is not None:
                    series.setdefault(variant, []).append((at, interval))
    for number, (variant, points) in enumerate(series.items()):
        points.sort(key=lambda point: point[0])
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(
            [at for at, _ in points], [each.value / unit for _, each in points],
            label=variant, color=colour, marker=MARKERS[number % len(MARKERS)], ms=4, lw=1.2,
        )  # fmt: skip
        for at, each in points:
            if each.low is not None and each.high is not None:
                axes.plot(
                    [at, at], [each.low / unit, each.high / unit], color=colour, lw=3, alpha=0.4
                )
    if not series:
        axes.annotate("no run is complete", (0.5, 0.5), xycoords="axes fraction", ha="center",
                      fontsize=8, color=GREY)  # fmt: skip
    if not is_number:
        axes.set_xticks(range(len(places)), [shown(place) for place in places])
    elif len(places) <= _MOST_TICKS:
        axes.set_xticks([float(place) for place in places], [shown(place) for place in places])
    axes.set_title(
        ", ".join(f"{key.rpartition('.')[2]}={shown(value)}" for key, value in fixed.items()),
        loc="left", fontsize=8, color=GREY,
    )  # fmt: skip
    plain(axes, "", "", size=7)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
