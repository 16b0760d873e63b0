from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import polars as pl
import pytest

from testbed.results.writer import frame, plain, write_json, write_tables


class Row(msgspec.Struct, frozen=True, tag="row"):
    number: int
    share: float
    name: str
    good: bool
    stalls_s: list[float]
    kind: Literal["a", "b"]
    peaks: dict[str, int]
    maybe: float | None = None


ROWS = [Row(1, 2, "x", True, [], "a", {"hbm": 3}), Row(2, 0.5, "y", False, [1.0], "b", {}, 4.0)]
COLUMNS = {
    "number": pl.Int64(),
    "share": pl.Float64(),
    "name": pl.String(),
    "good": pl.Boolean(),
    "stalls_s": pl.List(pl.Float64()),
    "kind": pl.String(),
    "peaks": pl.String(),
    "maybe": pl.Float64(),
}


def test_records_come_back_a_column_for_each_field(tmp_path: Path) -> None:
    write_tables(tmp_path / "rows.parquet", {"pe-only": ROWS})
    table = pl.read_parquet(tmp_path / "rows.parquet")
    assert dict(table.schema) == {"policy": pl.String()} | COLUMNS
    assert table["stalls_s"].to_list() == [[], [1.0]]
    assert table["maybe"].to_list() == [None, 4.0]
    assert json.loads(table["peaks"][0]) == {"hbm": 3}


def test_column_types_do_not_depend_on_the_values() -> None:
    whole = [msgspec.structs.replace(ROWS[0], share=1, maybe=None)]
    assert frame(whole).schema == frame(ROWS).schema


def test_a_value_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError):
        frame([msgspec.structs.replace(ROWS[0], number="seven")])


def test_variants_share_a_table(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    write_tables(path, {"pe-only": ROWS[:1], "none": [], "both": ROWS})
    table = pl.read_parquet(path)
    assert table.columns == ["policy", *COLUMNS]
    assert table["policy"].to_list() == ["pe-only", "both", "both"]


def test_a_table_without_any_record_is_there(tmp_path: Path) -> None:
    write_tables(tmp_path / "rows.parquet", {"pe-only": []})
    assert pl.read_parquet(tmp_path / "rows.parquet").columns == ["policy"]


def test_records_of_two_types_are_refused(tmp_path: Path) -> None:
    class Other(msgspec.Struct):
        number: int

    with pytest.raises(TypeError, match="different types"):
        write_tables(tmp_path / "rows.parquet", {"a": ROWS, "b": [Other(1)]})


def test_json_is_json_whatever_the_numbers_are(tmp_path: Path) -> None:
    content = {"cap": math.inf, "share": np.float64(0.5), "path": tmp_path, "row": ROWS[0]}
    write_json(tmp_path / "run.json", content)
    text = (tmp_path / "run.json").read_text()
    assert "Infinity" not in text
    found = json.loads(text)
    assert found["cap"] is None
    assert found["share"] == 0.5
    assert found["path"] == str(tmp_path)
    assert found["row"]["stalls_s"] == []
    assert found == plain(content)
    assert [file.name for file in tmp_path.iterdir()] == ["run.json"]


def test_what_json_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotImplementedError, match="object"):
        write_json(tmp_path / "run.json", {"what": object()})
    assert not list(tmp_path.iterdir())
