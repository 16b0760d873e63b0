"""The report's figures, as SVG: NIC timelines, NIC utilisation, time to first token.

matplotlib without pyplot: no display, no global state.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart by everybody.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442")
_GREY = "#7f7f7f"  # readable on white and on black
_SHOWN_KINDS = ("snic", "cnic", "link")
_MBIT = 1e6
Window = tuple[float, float] | None


def _svg(figure: Figure) -> str:
    """The figure as an SVG element; text stays text, in the page's font and colour."""
    out = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "report"}):
        FigureCanvasSVG(figure).print_svg(out, metadata={"Date": None})  # type: ignore[no-untyped-call]
    text = out.getvalue()
    return text[text.index("<svg") :]


def _plain(axes: Axes, xlabel: str, ylabel: str) -> None:
    axes.set_xlabel(xlabel, color=_GREY)
    axes.set_ylabel(ylabel, color=_GREY)
    axes.tick_params(colors=_GREY)
    axes.set_facecolor("none")
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_GREY)
    axes.grid(axis="y", color=_GREY, alpha=0.25, linewidth=0.5)


def _legend(axes: Axes, size: int, *, beside: bool = False) -> None:
    """Names of what was drawn, if anything was: a run may have no window."""
    if not axes.get_legend_handles_labels()[0]:
        return
    place: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1, 0.5)} if beside else {}
    axes.legend(fontsize=size, frameon=False, labelcolor=_GREY, **place)


def _class_rates(nics: pl.DataFrame) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Class of NIC and direction -> sample times and Mbit/s of all its NICs together."""
    totals = nics.filter((pl.col("lane") == "all") & pl.col("kind").is_in(_SHOWN_KINDS))
    found = {}
    for (role, kind, direction), part in totals.group_by(
        ["role", "kind", "direction"], maintain_order=True
    ):
        rates = []
        times = None
        for _, one in part.group_by("nic", maintain_order=True):
            t, b = one["t_s"].to_numpy(), one["bytes"].to_numpy().astype(float)
            if times is None:
                times = (t[1:] + t[:-1]) / 2
            rates.append(np.diff(b) * 8 / np.maximum(np.diff(t), 1e-6) / _MBIT)
        if times is not None and rates:
            length = min(map(len, rates))
            found[f"{role} {kind} {direction}"] = (
                times[:length],
                np.sum([rate[:length] for rate in rates], axis=0),
            )
    return found


def timelines(nics: pl.DataFrame, windows: Mapping[str, Window]) -> str:
    """Rate of every class of NIC over time, a panel for each policy; the window is shaded.

    Args:
        nics: the table of counters.
        windows: policy -> (open, close) of its steady window.
    """
    policies = list(windows)
    figure = Figure(figsize=(10, 2.9 * len(policies) + 0.4), layout="constrained")
    figure.patch.set_alpha(0)
    panels = figure.subplots(len(policies), 1, squeeze=False, sharey=True)[:, 0]
    for axes, policy in zip(panels, policies, strict=True):
        series = _class_rates(nics.filter(pl.col("policy") == policy))
        start = min((times[0] for times, _ in series.values()), default=0.0)
        for number, (label, (times, rates)) in enumerate(series.items()):
            axes.plot(
                times - start,
                rates,
                label=label,
                linewidth=1.2,
                color=COLOURS[number % len(COLOURS)],
                linestyle="-" if number < len(COLOURS) else "--",
            )
        if (window := windows[policy]) is not None:
            axes.axvspan(window[0] - start, window[1] - start, color=_GREY, alpha=0.12, lw=0)
        axes.set_title(policy, loc="left", fontsize=10, color=_GREY)
        _plain(axes, "time since the programs were started (s)", "Mbit/s")
        _legend(axes, 7, beside=True)
    return _svg(figure)


def utilisation(nics: pl.DataFrame, windows: Mapping[str, Window]) -> str:
    """Mean use of the NICs of each class in the steady window, and the least and most used one."""
    bars: dict[str, dict[str, tuple[float, float, float]]] = {}
    for policy, window in windows.items():
        if window is None:
            continue
        part = nics.filter(
            (pl.col("policy") == policy)
            & (pl.col("lane") == "all")
            & pl.col("kind").is_in(_SHOWN_KINDS)
        )
        shares: dict[str, list[float]] = {}
        for (_, role, kind, direction), one in part.group_by(
            ["nic", "role", "kind", "direction"], maintain_order=True
        ):
            first, last = np.interp(window, one["t_s"], one["bytes"])
            rate = (last - first) * 8 / (window[1] - window[0])
            shares.setdefault(f"{role} {kind} {direction}", []).append(
                100 * rate / float(one["rate_bps"][0])
            )
        for label, values in shares.items():
            bars.setdefault(label, {})[policy] = (
                float(np.mean(values)),
                min(values),
                max(values),
            )
    labels, policies = list(bars), list(windows)
    figure = Figure(figsize=(10, 0.3 * len(labels) * len(policies) + 1.4), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.subplots()
    height = 0.8 / max(1, len(policies))
    for number, policy in enumerate(policies):
        rows = [(row, label) for row, label in enumerate(labels) if policy in bars[label]]
        for row, label in rows:
            mean, least, most = bars[label][policy]
            at = row + (number - (len(policies) - 1) / 2) * height
            axes.barh(
                at,
                mean,
                height * 0.9,
                color=COLOURS[number % len(COLOURS)],
                label=policy if row == rows[0][0] else None,
            )
            axes.plot([least, most], [at, at], color=_GREY, linewidth=1.5)
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.set_xlim(0, 105)
    _plain(axes, "share of the line rate in the steady window (%); the line spans all NICs", "")
    axes.grid(axis="x", color=_GREY, alpha=0.25, linewidth=0.5)
    _legend(axes, 8, beside=True)
    return _svg(figure)


def first_tokens(requests: pl.DataFrame, windows: Mapping[str, Window]) -> str:
    """The distribution of the time to first token, in the steady window."""
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.subplots()
    for number, (policy, window) in enumerate(windows.items()):
        part = requests.filter((pl.col("policy") == policy) & (pl.col("error") == ""))
        if window is not None:
            part = part.filter(pl.col("t_first_token").is_between(*window))
        waits = np.sort((part["t_first_token"] - part["t_submit"]).to_numpy())
        if len(waits):
            axes.step(
                waits,
                100 * np.arange(1, len(waits) + 1) / len(waits),
                where="post",
                label=policy,
                color=COLOURS[number % len(COLOURS)],
            )
    _plain(axes, "time to first token (s, emulated)", "requests (%)")
    axes.set_ylim(0, 100)
    _legend(axes, 8)
    return _svg(figure)


def all_figures(tables: Mapping[str, Any], windows: Mapping[str, Window]) -> dict[str, str]:
    """Every figure that the tables of a run allow, by name."""
    figures = {}
    if "nics" in tables:
        figures["nic_timelines"] = timelines(tables["nics"], windows)
        figures["nic_utilisation"] = utilisation(tables["nics"], windows)
    if "requests" in tables and "t_first_token" in tables["requests"].columns:
        figures["first_token"] = first_tokens(tables["requests"], windows)
    return figures
