from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from testbed.errors import UsageError
from testbed.report.drawing import figure, plain, save, svg, warn


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


def test_a_notebook_shows_a_figure_as_svg() -> None:
    assert drawn()._repr_svg_() == svg(drawn())  # type: ignore[attr-defined]


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
