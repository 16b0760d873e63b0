"""Figures of a comparison: intervals beside each other, distributions and rates over each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from testbed.metrics import axis
from testbed.report.drawing import (
    COLOURS,
    GREY,
    explain,
    figure,
    legend,
    legend_of_all,
    plain,
    warn,
)
from testbed.report.series import KINDS
from testbed.report.words import brackets
from testbed.results.compare import Cell, Comparison, Contestant
from testbed.results.intervals import Interval
from testbed.results.load import RunData

_KINDS = ("snic", "cnic", "link")
_STEP_S = 0.5
_MBIT = 1e6
_WIDE = 3  # panels in a row
_PAGE_IN = 13.0  # as high as a page, for a figure as wide as these


def figures(comparison: Comparison, metrics: Sequence[str]) -> dict[str, Figure]:
    """Every figure that the runs' tables allow, by name.

    Args:
        comparison: of runs.
        metrics: to draw, dotted.
    """
    found = {}
    drawn = [metric for metric in metrics if _differs(comparison.metrics[metric])]
    if drawn:
        found["metrics"] = intervals(comparison, drawn)
    if waits := _waits(comparison.contestants):
        found["first_token"] = first_tokens(waits)
    if rates := _rates(comparison.contestants):
        found["nic_rates"] = nic_rates(rates)
    for each in found.values():
        _doubt(comparison, each)
    return found


def _doubt(comparison: Comparison, drawn: Figure) -> None:
    if comparison.unfaithful:
        warn(drawn, f"verdict FAIL: {', '.join(comparison.unfaithful)}")


def _differs(cells: Mapping[str, Cell]) -> bool:
    values = {cell.interval.value for cell in cells.values() if cell.interval is not None}
    return len(values) > 1


def in_parts(comparison: Comparison, metrics: Sequence[str]) -> list[Figure]:
    """The figure of intervals, in parts that fit a page of paper."""
    drawn = [metric for metric in metrics if _differs(comparison.metrics[metric])]
    deep = max(1, int(_PAGE_IN / _row_in(comparison)))
    size = deep * _WIDE
    parts = [intervals(comparison, drawn[at : at + size]) for at in range(0, len(drawn), size)]
    for part in parts:
        _doubt(comparison, part)
    return parts


def _row_in(comparison: Comparison) -> float:
    """How high a row of panels is, inches."""
    return 0.32 * len(comparison.contestants) + 0.9


def intervals(comparison: Comparison, metrics: Sequence[str]) -> Figure:
    """A panel for each metric: medians with intervals, and each run as a dot."""
    contestants = comparison.contestants
    rows = -(-len(metrics) // _WIDE)
    drawn = figure(3.6 * _WIDE, _row_in(comparison) * rows)
    panels = list(drawn.subplots(rows, _WIDE, squeeze=False).flat)
    for axes, metric in zip(panels, metrics, strict=False):
        title, unit = axis(metric)
        for number, each in enumerate(contestants):
            values = list(each.side.runs.values(each.variant, metric).values())
            interval = comparison.metrics[metric][each.label].interval
            if interval is not None:
                _interval(axes, number, values, interval, unit)
        axes.set_yticks(range(len(contestants)), [each.label for each in contestants])
        axes.set_ylim(len(contestants) - 0.5, -0.5)
        axes.set_title(title, loc="left", fontsize=8, color=GREY)
        plain(axes, "", "", size=7, grid="both")
        axes.locator_params(axis="x", nbins=5)
    for axes in panels[len(metrics) :]:
        axes.set_visible(False)
    cells = [cell for metric in metrics for cell in comparison.metrics[metric].values()]
    explain(drawn, brackets((cell.interval for cell in cells), "bars"))
    return drawn


def _interval(
    axes: Axes, row: int, values: Sequence[float], interval: Interval, unit: float
) -> None:
    colour = COLOURS[row % len(COLOURS)]
    axes.plot([each / unit for each in values], [row] * len(values), "o", color=colour, alpha=0.35)
    axes.plot(interval.value / unit, row, "|", color=colour, ms=12, mew=2)
    if interval.low is not None and interval.high is not None:
        axes.plot([interval.low / unit, interval.high / unit], [row] * 2, color=colour, lw=2)


def first_tokens(waits: Mapping[str, Sequence[np.ndarray]]) -> Figure:
    """The distribution of the time to first token: each run thin, all runs of a contestant bold.

    Args:
        waits: label -> of each run, the sorted times of its steady window, seconds.
    """
    drawn = figure(8, 3.6)
    axes = drawn.subplots()
    for number, (name, runs) in enumerate(waits.items()):
        colour = COLOURS[number % len(COLOURS)]
        if len(runs) > 1:
            for run in runs:
                axes.step(run, _percent(run), where="post", color=colour, alpha=0.3, lw=0.7)
        every = np.sort(np.concatenate(runs))
        axes.step(every, _percent(every), where="post", color=colour, lw=1.6, label=name)
    plain(axes, "time to first token (s, emulated)", "requests (%)")
    axes.set_ylim(0, 100)
    legend(axes, 8)
    return drawn


def _percent(values: np.ndarray) -> np.ndarray:
    return np.asarray(100 * np.arange(1, len(values) + 1) / len(values))


def _waits(contestants: Sequence[Contestant]) -> dict[str, list[np.ndarray]]:
    found: dict[str, list[np.ndarray]] = {}
    for each in contestants:
        for run in each.side.runs.runs:
            window = _window(run, each.variant)
            if window is None or "requests" not in run.tables:
                continue
            table = run.requests
            if not {"t_submit", "t_first_token", "error"} <= set(table.columns):
                continue
            part = table.filter(
                (pl.col("policy") == each.variant)
                & (pl.col("error") == "")
                & pl.col("t_first_token").is_between(*window)
            )
            if len(part):
                wait = np.sort((part["t_first_token"] - part["t_submit"]).to_numpy())
                found.setdefault(each.label, []).append(wait)
    return found


def nic_rates(rates: Mapping[str, Mapping[str, pl.DataFrame]]) -> Figure:
    """Rates over time, a panel for each class of NIC, a line for each contestant's first run.

    Args:
        rates: class of NIC and direction -> label -> columns `t_s` since the window opened, `bps`.
    """
    rows = -(-len(rates) // 2)
    drawn = figure(10, 2.1 * rows + 0.4)
    panels = list(drawn.subplots(rows, 2, squeeze=False, sharex=True).flat)
    names = list(dict.fromkeys(name for each in rates.values() for name in each))
    for axes, (kind, by_label) in zip(panels, rates.items(), strict=False):
        for name, series in by_label.items():
            number = names.index(name)
            axes.plot(
                series["t_s"], series["bps"] / _MBIT, label=name, lw=1.1,
                color=COLOURS[number % len(COLOURS)],
                linestyle="-" if number < len(COLOURS) else "--",
            )  # fmt: skip
        axes.axvline(0, color=GREY, lw=0.7, alpha=0.6)
        axes.set_title(kind, loc="left", fontsize=9, color=GREY)
        plain(axes, "", "Mbit/s")
        axes.set_ylim(bottom=0)
    for axes in panels[len(rates) :]:
        axes.set_visible(False)
    for axes in panels[max(0, len(rates) - 2) : len(rates)]:
        axes.set_xlabel("time since the steady window opened (s)", color=GREY)
        axes.tick_params(labelbottom=True)
    legend_of_all(drawn, 8)
    return drawn


def _rates(contestants: Sequence[Contestant]) -> dict[str, dict[str, pl.DataFrame]]:
    found: dict[str, dict[str, pl.DataFrame]] = {}
    for each in contestants:
        run = each.side.runs.runs[0]
        window = _window(run, each.variant)
        if window is None or "nics" not in run.tables:
            continue
        for kind, series in _class_rates(run.nics, each.variant, window[0]).items():
            found.setdefault(kind, {})[each.label] = series
    return found


def _class_rates(nics: pl.DataFrame, variant: str, opened_s: float) -> dict[str, pl.DataFrame]:
    """Class of NIC and direction -> rate of all its NICs together, in steps of half a second."""
    rates = (
        nics.filter(
            (pl.col("policy") == variant) & (pl.col("lane") == "all") & pl.col("kind").is_in(_KINDS)
        )
        .sort("nic", "direction", "t_s")
        .with_columns(
            bps=(pl.col("bytes").diff() * 8 / pl.col("t_s").diff()).over("nic", "direction"),
            step=((pl.col("t_s") - opened_s) / _STEP_S).floor(),
        )
        .drop_nulls("bps")
        .group_by("role", "kind", "direction", "nic", "step")
        .agg(pl.col("bps").mean())
        .group_by("role", "kind", "direction", "step")
        .agg(pl.col("bps").sum())
        .with_columns(t_s=(pl.col("step") + 0.5) * _STEP_S)
        .sort("role", "kind", "direction", "step")
    )
    return {
        f"{role} {KINDS[str(kind)]} {direction}": part
        for (role, kind, direction), part in rates.group_by(
            "role", "kind", "direction", maintain_order=True
        )
    }


def _window(run: RunData, variant: str) -> tuple[float, float] | None:
    said = run.policies.get(variant, {}).get("window_s")
    return (float(said[0]), float(said[1])) if said else None
