from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from testbed.errors import NotFoundError, ProgramError, ReportError, UnfaithfulError
from testbed.report import swept
from testbed.report.multiples import horizontal, metrics, multiples
from testbed.results import layout
from testbed.results.points import load_sweep
from testbed.results.writer import write_json
from tests.unit.results.made import make_run
from tests.unit.results.test_points import make_sweep


def figures(load: float) -> dict[str, dict[str, Any]]:
    return {"pe-only": {"load_bps": load}, "shorter-queue": {"load_bps": 2 * load}}


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    points = {
        f"{queue}{agents}": (
            {"arbitration": queue, "agents": agents},
            {1: figures(1e6 * agents), 2: figures(3e6 * agents)},
        )
        for queue in ("fair", "fifo")
        for agents in (8, 16, 32)
    }
    return make_sweep(tmp_path / "sweep", points)


def test_a_panel_for_each_value_of_the_other_key_a_line_for_each_policy(sweep: Path) -> None:
    data = load_sweep(sweep)
    assert horizontal(data) == "agents"
    assert metrics(data) == ["load_bps"]
    drawn = multiples(data, "agents", ["load_bps"])
    assert [axes.get_title(loc="left") for axes in drawn.axes] == [
        "arbitration=fair", "arbitration=fifo",
    ]  # fmt: skip
    for axes in drawn.axes:
        lines = {line.get_label(): line for line in axes.lines if line.get_label()[0] != "_"}
        assert list(lines["pe-only"].get_xdata()) == [8, 16, 32]
        assert list(lines["pe-only"].get_ydata()) == [16, 32, 64]  # medians, Mbit/s
        assert list(lines["shorter-queue"].get_ydata()) == [32, 64, 128]
    assert drawn.axes[0].get_ylabel() == "load (Mbit/s)"
    assert drawn.axes[0].get_ylim() == drawn.axes[1].get_ylim()


def test_words_have_places_on_the_axis(sweep: Path) -> None:
    drawn = multiples(load_sweep(sweep), "arbitration", ["load_bps"])
    visible = [axes for axes in drawn.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in visible] == [
        "agents=8",
        "agents=16",
        "agents=32",
    ]
    assert [label.get_text() for label in visible[0].get_xticklabels()] == ["fair", "fifo"]


def test_a_panel_without_a_complete_run_says_so_and_lines_have_their_names(sweep: Path) -> None:
    for point in ("fair8", "fair16", "fair32"):
        shutil.rmtree(sweep / point)
        (sweep / point).mkdir()
    drawn = multiples(load_sweep(sweep), "agents", ["load_bps"])
    said = [[text.get_text() for text in axes.texts] for axes in drawn.axes]
    assert said == [["no run is complete"], []]
    (legend,) = drawn.legends
    assert [text.get_text() for text in legend.get_texts()] == ["pe-only", "shorter-queue"]


def test_a_page_of_a_sweep_that_cannot_be_written_leaves_its_table(sweep: Path) -> None:
    (sweep / layout.FIGURES).write_text("in the way")
    found = swept.write(sweep)
    assert found.table is not None and found.figures == []
    assert len(found.as_json({})["unwritten"]) == 1
    with pytest.raises(ReportError, match="File exists"):
        found.judge({})


def test_a_number_that_there_is_not_is_named(sweep: Path) -> None:
    document = load_sweep(sweep).asked
    figure = {"x": "arbitration", "metrics": ["load"]}
    write_json(sweep / layout.SWEEP, {**document, "figure": figure})
    assert horizontal(load_sweep(sweep)) == "arbitration"
    with pytest.raises(NotFoundError, match="'load'"):
        metrics(load_sweep(sweep))


def test_a_sweep_is_written_with_its_table_and_figure(sweep: Path) -> None:
    found = swept.write(sweep)
    assert pl.read_parquet(sweep / "points.parquet").height == 6 * 2 * 2
    told = found.as_json({})
    assert (told["points"], told["runs"], told["unfaithful"]) == (6, 12, [])
    written = [Path(file).name for file in told["figures"]]
    assert written == ["multiples.svg", "multiples.pdf", layout.REPORT]
    text = "\n".join(found.lines({}))
    assert "32Mbit/s [16Mbit/s – 48Mbit/s]" in text
    found.judge({})


def test_an_unfaithful_run_or_a_failed_one_is_an_error(sweep: Path) -> None:
    make_run(sweep / "fair8" / "2027", figures(1.0), seed=2, ok=False)
    found = swept.Written(load_sweep(sweep), None, [])
    assert found.lines({})[0].startswith("FAIL  1 runs must not be believed")
    with pytest.raises(UnfaithfulError, match="1 runs of"):
        found.judge({})
    found.judge({}, accept_unfaithful=True)
    with pytest.raises(ProgramError, match="pe0 died") as raised:
        found.judge({"agents=8, repeat 1": ProgramError("pe0 died")}, accept_unfaithful=True)
    assert "agents=8, repeat 1" in raised.value.__notes__[0]


def test_a_sweep_without_a_complete_run_has_no_table(tmp_path: Path) -> None:
    path = make_sweep(tmp_path / "sweep", {"a": ({"agents": 8}, {})})
    found = swept.write(path)
    assert (found.table, found.figures) == (None, [])
    assert found.lines({})
