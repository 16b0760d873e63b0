"""Static figures as SVG by matplotlib: NIC timelines, use of the NICs, times to the answer.

They are what is printed, what there is without JavaScript, and files of the run directory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes

from testbed.report.bounds import Bound
from testbed.report.drawing import COLOURS, PALETTE, figure, legend, legend_of_all, plain, svg
from testbed.report.marks import Mark, labels
from testbed.report.requests import distribution
from testbed.report.series import KINDS, Series, Span, Use
from testbed.report.style import line_styles
from testbed.report.svg import themed
from testbed.report.variants import Variant

_WIDTH = 10.0  # inches
_LABEL_SHARE = 0.03  # of the width: numbers of marks that are closer would overlap
_ASKED = (0, (5, 2))
_LEGIBLE = {"facecolor": PALETTE["paper"], "alpha": 0.8, "linewidth": 0, "pad": 0.6}
_AT_LINE = ("axes fraction", "data")
_TEXT_PT = 7.5  # the page sets the figure half as large again


def timelines(
    by_variant: Mapping[str, Sequence[Series]],
    windows: Mapping[str, Span | None],
    marks: Mapping[str, Sequence[Mark]],
) -> str:
    """Use of every class of NIC over time, a panel for each variant; the window is shaded.

    Args:
        by_variant: the classes that are drawn.
        windows: steady window, seconds since the start of the variant.
        marks: moments that are numbered.
    """
    drawn = figure(_WIDTH, 2.5 * len(by_variant) + 0.3)
    panels = drawn.subplots(len(by_variant), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
    for axes, (variant, classes) in zip(panels, by_variant.items(), strict=True):
        for one, style in zip(classes, line_styles(classes), strict=True):
            axes.plot(
                one.times_s,
                100 * one.mean,
                label=one.name,
                linewidth=1.2,
                color=PALETTE[style.colour],
                linestyle=(0, (4, 1.5)) if style.dashed else "-",
            )
        _ask(axes, [Bound(100, "the line")])
        _shade(axes, windows.get(variant))
        _mark(axes, marks.get(variant, ()))
        axes.set_title(variant, loc="left", fontsize=9, color=PALETTE["fg"])
        times = "time since the start (s)" if axes is panels[-1] else ""
        plain(axes, times, "% of the line", size=_TEXT_PT)
        legend(axes, _TEXT_PT, beside=True)
    panels[0].set_ylim(0, None)  # of all, and only now that all is drawn
    return themed(svg(drawn, "Use of each class of NIC over time"))


def _shade(axes: Axes, window: Span | None) -> None:
    """The steady window."""
    if window is not None:
        axes.axvspan(*window, color=PALETTE["grey"], alpha=0.13, lw=0)


def _mark(axes: Axes, marks: Sequence[Mark]) -> None:
    """A line at each moment, and its number above it."""
    for mark in marks:
        axes.axvline(mark.at_s, color=PALETTE["fg"], lw=0.8, linestyle=(0, (1, 1.5)))
    for at_s, said in labels(marks, _LABEL_SHARE * axes.get_xlim()[1]):
        axes.annotate(
            said, (at_s, 1), xycoords=("data", "axes fraction"), xytext=(0, 1.5),
            textcoords="offset points", ha="center", fontsize=6.5, color=PALETTE["fg"],
        )  # fmt: skip


def machine(variants: Sequence[Variant]) -> str:
    """How busy the machine was, and how late timers came, with what was asked: a row for each."""
    drawn = figure(_WIDTH, 1.7 * len(variants) + 0.4)
    rows = drawn.subplots(len(variants), 2, squeeze=False, sharex=True, sharey="col")
    for (busy, lag), one in zip(rows, variants, strict=True):
        for axes in (busy, lag):
            _shade(axes, one.window)
        if (load := one.load) is not None:
            busy.plot(load.times_s, 100 * load.cpu_share, color=PALETTE["fg"], lw=0.9,
                      label="processors busy")  # fmt: skip
            busy.plot(load.times_s, 100 * load.softirq_share, color=PALETTE["pink"], lw=0.9,
                      label="of it in softirq")  # fmt: skip
            lag.plot(load.times_s, 1000 * load.lag_s, color=PALETTE["green"], lw=0.7,
                     label="the monitor's timer")  # fmt: skip
        if (late := one.late) is not None:
            lag.plot(late.times_s, 1000 * late.late_s, color=PALETTE["blue"], lw=0.7,
                     label="the latest of all programs")  # fmt: skip
        _ask(busy, one.asked_cpu)
        _ask(lag, one.asked_lag)
        last = "time since the start (s)" if busy is rows[-1][0] else ""
        plain(busy, last, "% of all processors", size=_TEXT_PT)
        plain(lag, last, "late by (ms)", size=_TEXT_PT)
        busy.set_title(one.name, loc="left", fontsize=9, color=PALETTE["fg"])
    rows[0][0].set_ylim(0, 105)
    rows[0][1].set_ylim(0, None)
    legend_of_all(drawn, _TEXT_PT)
    return themed(svg(drawn, "How busy the machine was, and how late timers came, over time"))


def _ask(axes: Axes, bounds: Sequence[Bound]) -> None:
    """A line at each bound with its label; at the upper edge those that are far above."""
    for bound in bounds:
        below = bound.own and not bound.beyond
        if not bound.beyond:
            axes.axhline(bound.at, color=PALETTE["red"], lw=0.8, linestyle=_ASKED)
        place, of_axes = (0.94, ("axes fraction",) * 2) if bound.beyond else (bound.at, _AT_LINE)
        axes.annotate(
            bound.label, (0.995 if bound.own else 0.005, place), xycoords=of_axes,
            xytext=(0, -1.5 if below else 1.5), textcoords="offset points",
            ha="right" if bound.own else "left", va="top" if below else "baseline",
            fontsize=6.5, color=PALETTE["red"], bbox=_LEGIBLE,
        )  # fmt: skip


def utilisation(by_variant: Mapping[str, Sequence[Use]]) -> str:
    """Mean use of the NICs of each class, and the least and most used one."""
    bars: dict[str, dict[str, list[float]]] = {}
    for variant, uses in by_variant.items():
        for use in uses:
            name = f"{use.role} {KINDS[use.kind]} {use.direction}"
            bars.setdefault(name, {}).setdefault(variant, []).append(100 * use.share)
    labels, variants = list(bars), list(by_variant)
    drawn = figure(_WIDTH, 0.24 * len(labels) * max(1, len(variants)) + 0.9)
    axes = drawn.subplots()
    height = 0.8 / max(1, len(variants))
    for number, variant in enumerate(variants):
        rows = [row for row, name in enumerate(labels) if variant in bars[name]]
        if not rows:
            continue
        shares = [bars[labels[row]][variant] for row in rows]
        at = np.array(rows) + (number - (len(variants) - 1) / 2) * height
        colour = COLOURS[number % len(COLOURS)]
        axes.barh(at, [np.mean(s) for s in shares], height * 0.85, color=colour, label=variant)
        least, most = [min(s) for s in shares], [max(s) for s in shares]
        axes.hlines(at, least, most, color=PALETTE["fg"], linewidth=1.5)
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.set_xlim(0, 105)
    axes.axvline(100, color=PALETTE["red"], lw=0.8, linestyle=_ASKED)
    plain(
        axes,
        "% of the line rate; the dark line spans the NICs of the class",
        "",
        size=_TEXT_PT,
        grid="x",
    )
    legend(axes, _TEXT_PT, beside=True)
    return themed(svg(drawn, "Mean use of each class of NIC"))


def waits(by_variant: Mapping[str, pl.DataFrame], title: str) -> str:
    """The distribution of the time to the answer (emulated seconds), from `requests.answered`."""
    drawn = figure(_WIDTH, 2.9)
    axes = drawn.subplots()
    for number, (variant, rows) in enumerate(by_variant.items()):
        if rows.is_empty():
            continue
        seconds, share = distribution(rows["wait_s"])
        colour = COLOURS[number % len(COLOURS)]
        axes.step(seconds, share, where="post", label=variant, color=colour)
    plain(axes, f"{title[:1].lower()}{title[1:]} (s, emulated)", "requests (%)", size=_TEXT_PT)
    axes.set_ylim(0, 100)
    axes.set_xlim(0, None)
    legend(axes, _TEXT_PT, beside=True)
    return themed(svg(drawn, "Distribution of the time to the answer"))
