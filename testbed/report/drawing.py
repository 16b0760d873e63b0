"""What figures have in common: palette, axes without ado, and files as SVG and PDF.

matplotlib without pyplot: no display, no global state.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from testbed.errors import UsageError, no_space
from testbed.report.svg import COLOURS as svg_colours

# As on light paper; `svg.themed` makes them a page's.
PALETTE = {name: light for name, (light, _) in svg_colours.items()}
COLOURS = tuple(PALETTE[name] for name in ("blue", "amber", "green", "red", "pink", "sky"))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = PALETTE["soft"]  # of what is written
_METADATA = ("Creator", "Date", "Format", "Type")  # that matplotlib adds and nobody asks for


class Drawing(Figure):
    """A figure that a notebook shows by itself, on white whatever the notebook's theme."""

    def _repr_svg_(self) -> str:
        self.patch.set(facecolor="white", alpha=1)
        return svg(self)


def figure(width: float, height: float) -> Figure:
    """An empty figure, inches; its ground is what it is put on."""
    made = Drawing(figsize=(width, height), layout="constrained")
    made.patch.set_alpha(0)
    return made


def plain(axes: Axes, xlabel: str, ylabel: str, *, size: float = 10, grid: str = "y") -> None:
    """Labels, two spines, and a faint grid behind what is drawn.

    Args:
        size: of the text, points.
        grid: the axis whose values have lines: "x", "y" or "both".
    """
    axes.set_xlabel(xlabel, color=GREY, fontsize=size)
    axes.set_ylabel(ylabel, color=GREY, fontsize=size)
    axes.tick_params(colors=GREY, labelsize=size)
    axes.set_facecolor("none")
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(PALETTE["grey"])
    axes.grid(axis=grid, color=PALETTE["line"], linewidth=0.6)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def legend(axes: Axes, size: float, *, beside: bool = False) -> None:
    """Names of what was drawn, if anything was: a run may have no window."""
    if not axes.get_legend_handles_labels()[0]:
        return
    place: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1, 0.5)} if beside else {}
    axes.legend(fontsize=size, frameon=False, labelcolor=PALETTE["fg"], **place)


def legend_of_all(drawn: Figure, size: float) -> None:
    """Names of what any panel shows, beside all of them: there they hide nothing."""
    named: dict[str, Any] = {}
    for axes in drawn.axes:
        handles, labels = axes.get_legend_handles_labels()
        named = {**dict(zip(labels, handles, strict=True)), **named}
    if named:
        drawn.legend(
            named.values(), named.keys(), loc="outside right upper", fontsize=size, frameon=False,
            labelcolor=PALETTE["fg"],
        )  # fmt: skip


def warn(drawn: Figure, text: str) -> None:
    """Write in red above all panels why the figure must not be believed; nothing, if it may."""
    if text:
        drawn.suptitle(text, color=PALETTE["red"], fontsize=9, weight="bold")


def explain(drawn: Figure, lines: Sequence[str]) -> None:
    """Write in small letters below all panels what is to be seen."""
    if lines:
        drawn.supxlabel("\n".join(lines), color=GREY, fontsize=7)


def svg(drawn: Figure, said: str = "") -> str:
    """The figure as an SVG element; text stays text, in the page's font.

    Args:
        said: what it shows, for those who do not see it.
    """
    out = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "report"}):
        FigureCanvasSVG(drawn).print_svg(out, metadata=dict.fromkeys(_METADATA))  # type: ignore[no-untyped-call]
    text = out.getvalue()
    text = text[text.index("<svg") :]
    described = f'<svg role="img" aria-label="{escape(said)}"'
    return text.replace("<svg", described, 1) if said else text


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
        if no_space(error):
            raise  # it says so itself
        raise UsageError(
            f"the figures cannot be written: {error.strerror} ({error.filename})",
            hint="choose a directory of yours",
        ) from None
    return written
