from __future__ import annotations

from pathlib import Path

import polars as pl

from testbed.kernel.samples import LaneSample, MeterSample
from testbed.results.nics import ALL_LANES, SCHEMA, rows, write_nics

LANES = {
    "model": LaneSample(10, 1, 0),
    "kv": LaneSample(80, 2, 0),
    "unclassified": LaneSample(0, 0, 0),
}


def sample(t_s: float, drops: int = 0) -> MeterSample:
    return MeterSample(
        t_s, "pe0/snic0", "snic", "pe0", "prefill", "in", 100_000_000, 90, 3, drops, 0, 0, 7, 1,
        0, 0, LANES,
    )  # fmt: skip


def test_a_sample_has_a_row_for_each_lane_and_one_for_all() -> None:
    table = rows("pe-only", [[sample(1.0), sample(1.0)], [sample(1.1, drops=2)]])
    assert dict(table.schema) == SCHEMA
    assert table.height == 3 * (1 + len(LANES))
    last = table.filter(pl.col("t_s") == 1.1)
    assert last["lane"].to_list() == [ALL_LANES, *LANES]
    assert last["bytes"].to_list() == [90, 10, 80, 0]
    assert last["drops"].to_list() == [2, None, None, None]
    assert last["backlog_bytes"].to_list() == [7, None, None, None]
    lanes = table.filter(pl.col("lane") != ALL_LANES)
    assert lanes["bytes"].sum() == table.filter(pl.col("lane") == ALL_LANES)["bytes"].sum()


def test_variants_share_the_table_and_none_gives_its_columns(tmp_path: Path) -> None:
    write_nics(tmp_path / "nics.parquet", {"a": [[sample(1.0)]], "b": [[sample(2.0)]]})
    table = pl.read_parquet(tmp_path / "nics.parquet")
    assert table["policy"].unique(maintain_order=True).to_list() == ["a", "b"]
    write_nics(tmp_path / "none.parquet", {"a": []})
    assert dict(pl.read_parquet(tmp_path / "none.parquet").schema) == SCHEMA
