"""What figures have in common: palette, axes without ado, and files as SVG and PDF.

matplotlib without pyplot: no display, no global state.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from testbed.errors import UsageError

# Okabe and Ito's palette: told apart by everybody.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#7f7f7f"  # readable on white and on black


class Drawing(Figure):
    """A figure that a notebook shows by itself."""

    def _repr_svg_(self) -> str:
        return svg(self)


def figure(width: float, height: float) -> Figure:
    """An empty figure, inches; its ground is what it is put on."""
    made = Drawing(figsize=(width, height), layout="constrained")
    made.patch.set_alpha(0)
    return made


def plain(axes: Axes, xlabel: str, ylabel: str) -> None:
    """Labels, two spines, and a faint grid of values."""
    axes.set_xlabel(xlabel, color=GREY)
    axes.set_ylabel(ylabel, color=GREY)
    axes.tick_params(colors=GREY)
    axes.set_facecolor("none")
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GREY)
    axes.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.5)


def legend(axes: Axes, size: int, *, beside: bool = False) -> None:
    """Names of what was drawn, if anything was: a run may have no window."""
    if not axes.get_legend_handles_labels()[0]:
        return
    place: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1, 0.5)} if beside else {}
    axes.legend(fontsize=size, frameon=False, labelcolor=GREY, **place)


def warn(drawn: Figure, text: str) -> None:
    """Write in red above all panels why the figure must not be believed; nothing, if it may."""
    if text:
        drawn.suptitle(text, color="#c00000", fontsize=9, weight="bold")


def explain(drawn: Figure, lines: Sequence[str]) -> None:
    """Write in small letters below all panels what is to be seen."""
    if lines:
        drawn.supxlabel("\n".join(lines), color=GREY, fontsize=7)


def svg(drawn: Figure) -> str:
    """The figure as an SVG element; text stays text, in the page's font and colour."""
    out = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "report"}):
        FigureCanvasSVG(drawn).print_svg(out, metadata={"Date": None})  # type: ignore[no-untyped-call]
    text = out.getvalue()
    return text[text.index("<svg") :]


def save(figures: Mapping[str, Figure], directory: Path) -> list[Path]:
    """Write each figure as NAME.svg and NAME.pdf; the same figure gives the same bytes.

    Raises:
        UsageError: the directory may not be written to.
    """
    written = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, drawn in figures.items():
            vector = directory / f"{name}.svg"
            vector.write_text(f'<?xml version="1.0" encoding="utf-8"?>\n{svg(drawn)}')
            page = directory / f"{name}.pdf"
            with mpl.rc_context({"pdf.fonttype": 42}):  # TrueType: text can be searched
                FigureCanvasPdf(drawn).print_pdf(page, metadata={"CreationDate": None})  # type: ignore[no-untyped-call]
            written += [vector, page]
    except OSError as error:
        raise UsageError(
            f"the figures cannot be written: {error.strerror} ({error.filename})",
            hint="choose a directory of yours",
        ) from None
    return written
