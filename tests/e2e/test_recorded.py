"""What a run recorded answers the questions of docs/questions.md, as its recipes say.

storage ══ pe0 (1 engine) ══ de0 (1 engine) ══ storage
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest

from testbed.experiment import record
from testbed.results.load import RunData, load

pytestmark = pytest.mark.xdist_group("recorded")  # its fixture is a run

PAGE = Path(__file__).resolve().parents[2] / "docs" / "questions.md"
SMALL = {
    "topology.set.gpus": "1",
    "scale": "{rate: 2000, bytes: 13696}",  # Layer Blocks of 6 bytes
    "engines": "modelled",
    "workload.trace": "32k",
    "workload.agents": "12",
    "workload.generation_scale": "0.2",
    "duration": "5s",
    "window": "{warm_up: 1s, warm_up_turns: 0, tolerance: 0.9}",
    "calibration": "false",
    "policies": "[shorter-queue]",
}


class Told(NamedTuple):
    """What the recipes find in a run, by the names that they give it; and the run's summary."""

    found: dict[str, Any]
    summary: dict[str, Any]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunData:
    out = tmp_path_factory.mktemp("runs")
    return load(record.execute(record.load("demo", SMALL), out, ["test"], lambda _: None).path)


@pytest.fixture(scope="module")
def told(run: RunData) -> Told:
    recipes = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    for recipe in recipes:
        text = recipe.replace('"runs/latest"', repr(str(run.path)))
        exec(compile(text, str(PAGE), "exec"), names)
    return Told(names, run.policies["shorter-queue"]["summary"])


def test_transfers_have_size_lane_path_wait_and_slowdown(told: Told) -> None:
    waits: pl.DataFrame = told.found["waits"]
    assert {"storage_read", "storage_write"} <= set(waits["kind"])
    assert waits["lane"].unique().to_list() == ["kv"]
    assert {"pe", "de"} <= set(waits["path"])
    assert (waits["size_bytes"] > 0).all() and (waits["queue_p99_s"] > 0).all()
    for kind, slowdown in told.summary["slowdown"].items():
        of_kind = told.found["transfers"].filter(pl.col("kind") == kind)["slowdown"]
        assert of_kind.median() == pytest.approx(slowdown["p50"])
    slowest: pl.DataFrame = told.found["slowest"]
    assert slowest["agent"].is_not_null().all() and len(slowest) > 0


def test_nics_have_use_and_backlog_by_direction_and_lane(told: Told) -> None:
    use: pl.DataFrame = told.found["use"]
    assert {"model", "kv", "all"} <= set(use["lane"])
    for row in told.summary["nic_use"]:
        same = [pl.col(key) == row[key] for key in ("kind", "role", "direction")]
        whole = use.filter(*same, pl.col("lane") == "all")
        assert len(whole) == row["nics"]
        # Samples end a little before the window does.
        assert whole["utilisation"].mean() == pytest.approx(row["utilisation"], abs=0.05)
        assert whole["backlog_s"].mean() == pytest.approx(row["backlog_s"], abs=1e-3)
    assert told.found["one_nic"]["bps"].max() > 0


def test_round_trips_are_known_under_load(told: Told) -> None:
    trips = {f"{row['kind']} {row['lane']}": row for row in told.found["trips"].to_dicts()}
    assert set(trips) == set(told.summary["round_trip_s"]) and "snic kv" in trips
    for name, row in trips.items():
        expected = told.summary["round_trip_s"][name]
        assert row["smoothed_s"] == pytest.approx(expected["p50"])
        assert row["p99_s"] == pytest.approx(expected["p99"])
        assert row["least_s"] == expected["least"] > 0


def test_each_layer_group_has_its_stall(run: RunData, told: Told) -> None:
    stalls: pl.DataFrame = told.found["stalls"]
    per_transfer = run.run["predicted"]["layers_per_transfer"]
    assert stalls["group"].max() >= -(-61 // per_transfer) - 1
    assert (stalls["stalls_s"] >= 0).all()
    each = run.requests.filter(pl.col("error") == "")
    sums = each["stalls_s"].list.sum()
    assert (sums - each["stall_s"]).abs().max() < 1e-6


def test_gpu_time_that_waits_for_kv_is_known(told: Told) -> None:
    # The summary is of the window's time; iterations that end in it may have begun before it.
    assert told.found["gpu_wait_share"] == pytest.approx(told.summary["gpu_wait_share"], rel=0.2)
    assert told.found["by_engine"]["waiting_s"][0] > 0
    assert told.found["by_engine"]["engine"].to_list() == ["pe0g0"]


def test_jains_index_over_agents_is_known(told: Told) -> None:
    assert told.found["jain"] == pytest.approx(told.summary["jain_agents"])
