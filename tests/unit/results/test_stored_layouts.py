"""Runs of every layout version that there has been, tests/data/run-layout-N, alone and in sets and
sweeps, whose own files are tests/data/{set,sweep}-layout-N.json.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from agents.workload import _TABLES
from testbed.fidelity.monitor import MachineSample
from testbed.report.comparison import lines
from testbed.report.overlaid import figures
from testbed.report.page import write_report
from testbed.report.swept import write
from testbed.results import layout, nics
from testbed.results.compare import chosen, compare
from testbed.results.export import table, tables
from testbed.results.load import load
from testbed.results.points import load_sweep
from testbed.results.sets import load_set
from testbed.results.writer import VARIANT_COLUMN, schema

DATA = Path(__file__).resolve().parents[2] / "data"
STORED = sorted(DATA.glob("run-layout-*"))


def test_there_is_a_stored_run_of_every_version() -> None:
    versions = [int(path.name.rpartition("-")[2]) for path in STORED]
    assert versions == list(range(1, layout.LAYOUT_VERSION + 1))


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.name)
def test_a_stored_run_still_loads(path: Path) -> None:
    found = load(path)
    assert found.run["layout_version"] == int(path.name.rpartition("-")[2])
    assert list(found.policies) == ["pe-only", "shorter-queue"]
    assert found.verdict.status == "PASS"
    assert found.policies["pe-only"]["summary"]["kv_load_bps"] == pytest.approx(44.69e6, rel=1e-3)
    assert {"machine", "nics", "requests", "transfers"} <= set(found.tables)
    for name in found.tables:
        assert VARIANT_COLUMN in found.table(name).columns
    assert set(found.requests["policy"]) == {"pe-only", "shorter-queue"}
    assert found.nics.filter(pl.col("lane") == nics.ALL_LANES)["bytes"].max() > 1e6


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.name)
def test_a_stored_run_is_compared_exported_and_reported(path: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(path, tmp_path / "run")
    compared = compare([copy])
    cell = compared.metrics["kv_load_bps"]["shorter-queue"]
    assert cell.change is not None and cell.change.ratio is not None
    assert cell.change.ratio.value == pytest.approx(1.249, rel=1e-3)
    assert any("kv load" in line for line in lines(compared, chosen(compared, ())))
    assert set(figures(compared, ["kv_load_bps"])) == {"metrics", "first_token", "nic_rates"}
    assert table(copy, "summary")["kv_load_bps"].null_count() == 0
    assert len(tables(copy)) > 10
    assert "shorter-queue" in write_report(copy).read_text()


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.name)
def test_a_stored_set_and_a_stored_sweep_still_load(path: Path, tmp_path: Path) -> None:
    of_set, of_sweep = (
        DATA / f"{path.name.replace('run', kind)}.json" for kind in ("set", "sweep")
    )
    asked = json.loads(of_sweep.read_text())
    point = tmp_path / asked["points"][0]["directory"]
    shutil.copytree(path, point / "20261125-180000-demo")
    shutil.copy(of_set, point / layout.SET)
    shutil.copy(of_sweep, tmp_path / layout.SWEEP)

    runs = load_set(point)
    assert (runs.asked, runs.numbers, runs.seeds) == (2, [1], [1])
    assert runs.median("pe-only", "kv_load_bps") is not None
    assert any("1 of 2 runs" in remark for remark in compare([point]).remarks)
    sweep = load_sweep(tmp_path)
    assert [values for values, _ in sweep.points] == [asked["points"][0]["values"]]
    found = table(tmp_path, "summary")
    assert found["workload.agents"].to_list() == [2, 2]  # a policy each
    assert write(tmp_path).table == layout.table_path(tmp_path, layout.POINTS)


def test_what_the_version_promises_is_still_written() -> None:
    """Who takes a column away, or gives it another name or type, has to raise the version."""
    stored = load(STORED[-1])
    written = {name: schema(record) for name, record in _TABLES.items()}
    written |= {"machine": schema(MachineSample), "nics": nics.SCHEMA}
    assert set(stored.tables) <= set(written)
    for name in stored.tables:
        for column, dtype in stored.table(name).schema.items():
            if column == VARIANT_COLUMN or dtype == pl.Null or not len(stored.table(name)):
                continue
            assert written[name].get(column) == dtype, f"{name}.{column}: docs/run-directory.md"
