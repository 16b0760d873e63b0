"""Charts of a study: bars or lines with intervals, the paper's values beside them; SVG and PDF."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from testbed.report.drawing import COLOURS, GREY, MARKERS, figure, legend, plain, save
from testbed.results.charts import Chart, Series
from testbed.results.intervals import Interval

_GROUP_WIDTH = 0.8
_MARKED_POINTS = 12  # of a line: more need no marks


def draw(charts: Sequence[Chart], directory: Path) -> list[Path]:
    """Write each chart as NAME.svg and NAME.pdf."""
    return save({chart.name: _drawn(chart) for chart in charts}, directory)


def _drawn(chart: Chart) -> Figure:
    made = figure(8, 3.4)
    axes = made.subplots()
    if chart.kind == "stacked":
        _stacked(axes, chart.series)
    for number, series in enumerate(chart.series):
        if chart.kind == "bars":
            _bars(axes, series, number, len(chart.series))
        elif chart.kind == "lines":
            _line(axes, series, number)
    papers = [value for series in chart.series for value in series.paper if value is not None]
    if papers and chart.kind != "stacked":
        axes.plot([], [], "D", color=GREY, markerfacecolor="white", label="paper")
    if chart.kind != "lines" and chart.series:
        axes.set_xticks(range(len(chart.series[0].x)), [str(x) for x in chart.series[0].x])
    if chart.log:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_title(chart.title, loc="left", fontsize=10, color=GREY)
    plain(axes, chart.x, chart.y)
    legend(axes, 8, beside=True)
    return made


def _bars(axes: Axes, series: Series, number: int, count: int) -> None:
    width = _GROUP_WIDTH / count
    at = [group + (number - (count - 1) / 2) * width for group in range(len(series.x))]
    shown = [(x, y) for x, y in zip(at, series.y, strict=True) if y is not None]
    axes.bar([x for x, _ in shown], [y.value for _, y in shown], width * 0.9,
             color=COLOURS[number % len(COLOURS)], label=series.name,
             yerr=_errors([y for _, y in shown]), ecolor=GREY)  # fmt: skip
    _paper(axes, at, series)


def _stacked(axes: Axes, parts: Sequence[Series]) -> None:
    """Parts of a whole; their intervals are not of the sum, so none are drawn."""
    height = [0.0] * max((len(series.x) for series in parts), default=0)
    for number, series in enumerate(parts):
        values = [0.0 if y is None else y.value for y in series.y]
        axes.bar(range(len(values)), values, _GROUP_WIDTH / 2, bottom=height,
                 color=COLOURS[number % len(COLOURS)], label=series.name)  # fmt: skip
        height = [below + value for below, value in zip(height, values, strict=True)]


def _line(axes: Axes, series: Series, number: int) -> None:
    at = [float(x) for x in series.x]
    shown = [(x, y) for x, y in zip(at, series.y, strict=True) if y is not None]
    values = [y for _, y in shown]
    axes.errorbar([x for x, _ in shown], [y.value for y in values], yerr=_errors(values),
                  color=COLOURS[number % len(COLOURS)], ecolor=GREY, label=series.name,
                  marker=MARKERS[number % len(MARKERS)] if len(shown) <= _MARKED_POINTS else "",
                  markersize=4)  # fmt: skip
    _paper(axes, at, series)


def _paper(axes: Axes, at: Sequence[float], series: Series) -> None:
    known = [(x, y) for x, y in zip(at, series.paper, strict=False) if y is not None]
    axes.plot([x for x, _ in known], [y for _, y in known], "D", color=GREY,
              markerfacecolor="white", zorder=3)  # fmt: skip


def _errors(values: Sequence[Interval]) -> Any:
    """Distances to both ends of each interval; None where there is no interval at all."""
    below = [0.0 if y.low is None else max(0.0, y.value - y.low) for y in values]
    above = [0.0 if y.high is None else max(0.0, y.high - y.value) for y in values]
    return [below, above] if any(below) or any(above) else None
