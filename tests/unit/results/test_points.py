from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from testbed.results import layout
from testbed.results.points import load_sweep
from testbed.results.writer import write_json
from tests.unit.results.made import make_set


def figures(load: float, **more: Any) -> dict[str, dict[str, Any]]:
    return {"pe-only": {"load_bps": load, "ttft_s": {"p50": None}, **more}}


def make_sweep(path: Path, points: dict[str, tuple[dict[str, Any], dict[int, Any]]]) -> Path:
    """directory -> (values, runs by seed); no runs: the point has not begun."""
    path.mkdir()
    for name, (_, runs) in points.items():
        make_set(path / name, runs, asked=2)
    grid: dict[str, list[Any]] = {}
    for values, _ in points.values():
        for key, value in values.items():
            grid.setdefault(key, []).extend([value] * (value not in grid.get(key, [])))
    asked = {
        "layout_version": layout.LAYOUT_VERSION, "grid": grid,
        "figure": {"x": None, "metrics": []},
        "points": [{"directory": name, "values": v} for name, (v, _) in points.items()],
    }  # fmt: skip
    write_json(path / layout.SWEEP, asked)
    return path


def test_a_sweep_is_a_table_of_all_runs_that_are_complete(tmp_path: Path) -> None:
    sweep = make_sweep(
        tmp_path / "sweep",
        {
            "a": ({"workload.agents": 8, "alpha": "auto"}, {1: figures(1.0), 5: figures(2, n=3)}),
            "b": ({"workload.agents": 16, "alpha": 0.5}, {1: figures(4.0, bound_by="storage")}),
            "c": ({"workload.agents": 32, "alpha": 0.5}, {}),
        },
    )
    table = load_sweep(sweep).table()
    assert table.select(
        "workload.agents", "alpha", "repeat", "seed", "policy", "verdict"
    ).rows() == [
        (8, "auto", 1, 1, "pe-only", "PASS"),
        (8, "auto", 2, 5, "pe-only", "PASS"),
        (16, "0.5", 1, 1, "pe-only", "PASS"),
    ]
    assert table["load_bps"].to_list() == [1.0, 2.0, 4.0]
    assert table["n"].to_list() == [None, 3, None]
    assert table["n"].dtype == pl.Int64()
    assert table["bound_by"].to_list() == [None, None, "storage"]
    assert (sweep / table["run"][0] / layout.RUN).is_file()
    assert load_sweep(str(sweep)).keys == ["workload.agents", "alpha"]
    table.write_parquet(tmp_path / "table.parquet")
    assert pl.read_parquet(tmp_path / "table.parquet").equals(table)
