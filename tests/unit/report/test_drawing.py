from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from testbed.errors import UsageError
from testbed.report.drawing import GREY, figure, plain, save, svg, warn
from testbed.report.svg import alone, themed


def drawn() -> Figure:
    made = figure(2, 1)
    axes = made.subplots()
    axes.plot([1, 2], [3, 4])
    plain(axes, "time (s)", "load (Mbit/s)")
    return made


def test_a_figure_is_written_as_svg_and_pdf_the_same_bytes_each_time(tmp_path: Path) -> None:
    one = save({"load": drawn()}, tmp_path / "one")
    two = save({"load": drawn()}, tmp_path / "two")
    assert [file.name for file in one] == ["load.svg", "load.pdf"]
    assert [file.read_bytes() for file in one] == [file.read_bytes() for file in two]
    assert "load (Mbit/s)" in one[0].read_text()  # text, not outlines
    assert one[1].read_bytes().startswith(b"%PDF-")


def test_a_notebook_shows_a_figure_as_svg_on_a_ground_of_its_own() -> None:
    """Its colours are for light paper, and a notebook may be dark."""
    shown = drawn()._repr_svg_()  # type: ignore[attr-defined]
    assert "fill: #ffffff" in shown.partition("axes_1")[0]
    assert "fill: #ffffff" not in svg(drawn()).partition("axes_1")[0]


def test_a_figure_takes_the_colours_of_the_page_that_it_is_put_in() -> None:
    in_page = themed(svg(drawn()))
    assert f"var(--soft, {GREY})" in in_page
    assert alone(in_page) == svg(drawn())


def test_a_warning_stands_above_all_panels_or_not_at_all() -> None:
    made = drawn()
    warn(made, "")
    assert made.get_suptitle() == ""
    warn(made, "verdict FAIL")
    assert made.get_suptitle() == "verdict FAIL"


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"):
        save({"load": drawn()}, tmp_path / "file")
