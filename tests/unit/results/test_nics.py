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


def sample(
    t_s: float, drops: int = 0, waiting: int = 1, lanes: dict[str, LaneSample] = LANES
) -> MeterSample:
    return MeterSample(
        t_s, "pe0/snic0", "snic", "pe0", "prefill", "in", 100_000_000, 90, 3, drops, 5, 0,
        7 * waiting, waiting, 0, 0, lanes,
    )  # fmt: skip


def test_a_sample_has_a_row_for_each_lane_and_one_for_all() -> None:
    table = rows("pe-only", [[sample(1.0)], [sample(1.05)], [sample(1.1, drops=2)]])
    assert dict(table.schema) == SCHEMA
    assert table.height == 3 * (1 + len(LANES))
    last = table.filter(pl.col("t_s") == 1.1)
    assert last["lane"].to_list() == [ALL_LANES, *LANES]
    assert last["bytes"].to_list() == [90, 10, 80, 0]
    assert last["drops"].to_list() == [2, None, None, None]
    assert last["backlog_bytes"].to_list() == [7, None, None, None]
    lanes = table.filter(pl.col("lane") != ALL_LANES)
    assert lanes["bytes"].sum() == table.filter(pl.col("lane") == ALL_LANES)["bytes"].sum()


def test_the_backlog_is_that_of_the_only_lane_that_moves() -> None:
    alone = LANES | {"kv": LaneSample(160, 4, 3)}
    both = alone | {"model": LaneSample(20, 2, 0)}
    steps = [(0, LANES), (1, LANES), (1, alone), (1, both), (0, both)]
    samples = [[sample(n, waiting=w, lanes=lanes)] for n, (w, lanes) in enumerate(steps)]
    table = rows("v", samples)

    def backlog(lane: str) -> list[int | None]:
        return table.filter(pl.col("lane") == lane)["backlog_bytes"].to_list()

    assert backlog(ALL_LANES) == [0, 7, 7, 7, 0]
    # At the third both move around it, at the fourth only the model lane does.
    assert backlog("kv") == [0, 7, None, 0, 0]
    assert backlog("model") == [0, 0, None, 7, 0]
    assert table.filter(pl.col("lane") == "kv")["overlimits"].to_list() == [0, 0, 3, 3, 3]
    assert table.filter(pl.col("lane") == ALL_LANES)["overlimits"].to_list() == [5] * 5


def test_variants_share_the_table_and_none_gives_its_columns(tmp_path: Path) -> None:
    write_nics(tmp_path / "nics.parquet", {"a": [[sample(1.0)]], "b": [[sample(2.0)]]})
    table = pl.read_parquet(tmp_path / "nics.parquet")
    assert table["policy"].unique(maintain_order=True).to_list() == ["a", "b"]
    write_nics(tmp_path / "none.parquet", {"a": []})
    assert dict(pl.read_parquet(tmp_path / "none.parquet").schema) == SCHEMA
