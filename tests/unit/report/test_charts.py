"""Charts of studies: what is drawn where."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from testbed.experiment.estimates import exactly
from testbed.report.charts import draw
from testbed.results.charts import Chart, Series
from testbed.results.intervals import Interval

BOTH = [
    Series("Basic", ["a", "b"], [exactly(2.0), Interval(4.0, 3.0, 6.0, 0.95, 9)], [2.5, None]),
    Series("DualPath", ["a", "b"], [exactly(1.0), None]),
]


def drawn(tmp_path: Path, **options: object) -> str:
    chart = Chart("fig0", "Title <1>", "agents", "JCT (s)", BOTH, **options)  # type: ignore[arg-type]
    vector, page = draw([chart], tmp_path)
    assert page.suffix == ".pdf" and page.read_bytes().startswith(b"%PDF")
    return vector.read_text()


@pytest.mark.parametrize("kind", ["bars", "stacked"])
def test_bars_have_names_axes_and_a_legend(tmp_path: Path, kind: str) -> None:
    text = drawn(tmp_path, kind=kind)
    for word in ("Title &lt;1&gt;", "agents", "JCT (s)", ">a<", ">b<", "Basic", "DualPath"):
        assert word in text
    assert ("paper" in text) == (kind == "bars")


def tops(text: str) -> dict[str, list[float]]:
    """Colour -> upper ends of its bars, those of the legend left out; y grows downwards."""
    found: dict[str, list[float]] = {}
    for path, colour in re.findall(r'<path d="([^"]*)" clip-path[^>]*fill: (#\w+)', text):
        found.setdefault(colour, []).append(
            min(float(y) for y in re.findall(r" ([\d.]+) \n", path))
        )
    return found


def test_parts_lie_on_top_of_each_other(tmp_path: Path) -> None:
    basic, dual = tops(drawn(tmp_path, kind="stacked")).values()
    beside_basic, beside_dual = tops(drawn(tmp_path, kind="bars")).values()
    assert dual[0] < basic[0]  # 2 + 1 is higher up than 2
    assert beside_dual[0] > beside_basic[0]


def test_a_line_has_only_the_points_that_there_are(tmp_path: Path) -> None:
    series = [Series("one", [0.1, 0.2, 0.4], [exactly(1.0), None, exactly(3.0)], [None, 2.0, None])]
    (vector, _) = draw([Chart("fig0", "t", "APS", "s", series, kind="lines", log=True)], tmp_path)
    assert "paper" in vector.read_text()
