"""Static figures as SVG by matplotlib: NIC timelines, use of the NICs, times to the answer.

They are what is printed, what there is without JavaScript, and files of the run directory.
matplotlib without pyplot: no display, no global state.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from testbed.report.requests import distribution
from testbed.report.series import KINDS, Series, Span, Use
from testbed.report.style import line_styles
from testbed.report.svg import COLOURS

_LIGHT = {name: light for name, (light, _) in COLOURS.items()}
_NAMES = {light: name for name, light in reversed(_LIGHT.items())}
_VARIANTS = ("blue", "amber", "green", "red", "pink", "sky")
_WIDTH = 10.0  # inches
_TEXT_PT = 7.5  # the page sets the figure half as large again


def _svg(figure: Figure) -> str:
    """The figure as an SVG element; text stays text, colours are the page's."""
    out = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "report"}):
        FigureCanvasSVG(figure).print_svg(out, metadata={"Date": None})  # type: ignore[no-untyped-call]
    text = out.getvalue()
    text = text[text.index("<svg") :]
    return re.sub("#[0-9a-f]{6}", lambda found: _themed(found[0]), text)


def _themed(colour: str) -> str:
    """A colour of the palette as a variable of the page, with itself where there is no page."""
    return f"var(--{_NAMES[colour]}, {colour})" if colour in _NAMES else colour


def _figure(height: float) -> Figure:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    figure.patch.set_alpha(0)
    return figure


def _plain(axes: Axes, xlabel: str, ylabel: str, grid: str = "y") -> None:
    soft = _LIGHT["soft"]
    axes.set_xlabel(xlabel, color=soft, fontsize=_TEXT_PT)
    axes.set_ylabel(ylabel, color=soft, fontsize=_TEXT_PT)
    axes.tick_params(colors=soft, labelsize=_TEXT_PT)
    axes.set_facecolor("none")
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_LIGHT["grey"])
    axes.grid(axis=grid, color=_LIGHT["line"], linewidth=0.6)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def _legend(axes: Axes, *, beside: bool = False) -> None:
    """Names of what was drawn, if anything was: a run may have no window."""
    if not axes.get_legend_handles_labels()[0]:
        return
    place: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1, 0.5)} if beside else {}
    axes.legend(fontsize=_TEXT_PT, frameon=False, labelcolor=_LIGHT["fg"], **place)


def timelines(
    by_variant: Mapping[str, Sequence[Series]], windows: Mapping[str, Span | None]
) -> str:
    """Use of every class of NIC over time, a panel for each variant; the window is shaded.

    Args:
        by_variant: the classes that are drawn.
        windows: steady window, seconds since the start of the variant.
    """
    figure = _figure(2.5 * len(by_variant) + 0.3)
    panels = figure.subplots(len(by_variant), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
    for axes, (variant, classes) in zip(panels, by_variant.items(), strict=True):
        for one, style in zip(classes, line_styles(classes), strict=True):
            axes.plot(
                one.times_s,
                100 * one.mean,
                label=one.name,
                linewidth=1.2,
                color=_LIGHT[style.colour],
                linestyle=(0, (4, 1.5)) if style.dashed else "-",
            )
        if (window := windows.get(variant)) is not None:
            axes.axvspan(*window, color=_LIGHT["grey"], alpha=0.13, lw=0)
        axes.set_title(variant, loc="left", fontsize=9, color=_LIGHT["fg"])
        axes.set_ylim(0, None)
        _plain(axes, "" if axes is not panels[-1] else "time since the start (s)", "% of the line")
        _legend(axes, beside=True)
    return _svg(figure)


def utilisation(by_variant: Mapping[str, Sequence[Use]]) -> str:
    """Mean use of the NICs of each class, and the least and most used one."""
    bars: dict[str, dict[str, list[float]]] = {}
    for variant, uses in by_variant.items():
        for use in uses:
            name = f"{use.role} {KINDS[use.kind]} {use.direction}"
            bars.setdefault(name, {}).setdefault(variant, []).append(100 * use.share)
    labels, variants = list(bars), list(by_variant)
    figure = _figure(0.24 * len(labels) * max(1, len(variants)) + 0.9)
    axes = figure.subplots()
    height = 0.8 / max(1, len(variants))
    for number, variant in enumerate(variants):
        rows = [row for row, name in enumerate(labels) if variant in bars[name]]
        if not rows:
            continue
        shares = [bars[labels[row]][variant] for row in rows]
        at = np.array(rows) + (number - (len(variants) - 1) / 2) * height
        colour = _LIGHT[_VARIANTS[number % len(_VARIANTS)]]
        axes.barh(at, [np.mean(s) for s in shares], height * 0.85, color=colour, label=variant)
        least, most = [min(s) for s in shares], [max(s) for s in shares]
        axes.hlines(at, least, most, color=_LIGHT["fg"], linewidth=1.5)
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.set_xlim(0, 105)
    _plain(axes, "% of the line rate; the dark line spans the NICs of the class", "", grid="x")
    _legend(axes, beside=True)
    return _svg(figure)


def waits(by_variant: Mapping[str, pl.DataFrame], title: str) -> str:
    """The distribution of the time to the answer (emulated seconds), from `requests.answered`."""
    figure = _figure(2.9)
    axes = figure.subplots()
    for number, (variant, rows) in enumerate(by_variant.items()):
        if rows.is_empty():
            continue
        seconds, share = distribution(rows["wait_s"])
        colour = _LIGHT[_VARIANTS[number % len(_VARIANTS)]]
        axes.step(seconds, share, where="post", label=variant, color=colour)
    _plain(axes, f"{title[:1].lower()}{title[1:]} (s, emulated)", "requests (%)")
    axes.set_ylim(0, 100)
    axes.set_xlim(0, None)
    _legend(axes, beside=True)
    return _svg(figure)
