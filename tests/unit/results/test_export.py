from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from testbed.errors import NotFoundError, UsageError
from testbed.results.export import export, table, tables
from tests.unit.results.made import make_run, make_set
from tests.unit.results.test_points import figures, make_sweep


def policies() -> dict[str, dict[str, Any]]:
    return {"pe-only": {"load_bps": 1.5}, "shorter-queue": {"load_bps": 3.0}}


def test_a_run_becomes_csv_files_that_hold_all_of_it(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", policies())
    written = export(run, (), tmp_path / "csv", "csv")
    assert [file.name for file in written] == ["summary.csv", "requests.csv"]
    with written[1].open() as file:
        rows = list(csv.DictReader(file))
    assert [row["policy"] for row in rows] == ["pe-only"] * 2 + ["shorter-queue"] * 2
    assert rows[1]["t_first_token"] == "1.9"
    assert [row["stalls_s"] for row in rows[:2]] == ["[]", "[0.1]"]
    with written[0].open() as file:
        assert [row["load_bps"] for row in csv.DictReader(file)] == ["1.5", "3.0"]


def test_parquet_keeps_types(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", policies())
    (file,) = export(run, ["requests"], tmp_path / "out", "parquet")
    assert pl.read_parquet(file)["stalls_s"].dtype == pl.List(pl.Float64())


def test_of_several_runs_a_column_says_which(tmp_path: Path) -> None:
    path = make_set(tmp_path / "set", {1: policies(), 2: policies()})
    assert tables(path) == ["summary", "requests"]
    found = table(path, "requests")
    assert found["run"].unique(maintain_order=True).to_list() == ["2026-made-1", "2026-made-2"]
    assert table(path, "summary")["seed"].to_list() == [1, 1, 2, 2]


def test_a_sweep_has_its_points_in_the_summary(tmp_path: Path) -> None:
    points = {"a": ({"agents": 8}, {1: figures(1.0)}), "b": ({"agents": 9}, {1: figures(2.0)})}
    sweep = make_sweep(tmp_path / "sweep", points)
    assert table(sweep, "summary").select("agents", "load_bps").rows() == [(8, 1.0), (9, 2.0)]
    assert table(sweep, "requests")["run"][0] == "a/2026-made-1"


def test_a_table_that_there_is_not_and_a_place_that_cannot_be_are_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", policies())
    with pytest.raises(NotFoundError, match="'transfers'") as refused:
        export(run, ["transfers"], tmp_path / "out", "csv")
    assert "summary, requests" in refused.value.hint
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"):
        export(run, (), tmp_path / "file", "csv")
