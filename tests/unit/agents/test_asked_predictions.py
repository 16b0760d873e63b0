"""`testbed predict` of all that is shipped, and of what makes no sense: figures, or what to do."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from agents.models import PRESETS
from testbed.errors import TestbedError
from testbed.experiment import record

TRACES = {"mooncake", "agentic-sessions"}  # need files that do not come along
SHIPPED = sorted(
    Path(str(file)).stem
    for file in files("agents").joinpath("scenarios").iterdir()
    if file.is_file()
)
SMALL = {"workload.agents": "2"}


def predicted(name: str, **overrides: str) -> dict[str, Any]:
    """The object of `testbed predict --json`."""
    found: dict[str, Any] = json.loads(
        json.dumps(record.predict(record.load(name, overrides)).as_json())
    )
    return found


@pytest.fixture(autouse=True)
def _reference_costs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("TESTBED_TRACES", raising=False)


@pytest.mark.parametrize("name", sorted(set(SHIPPED) - TRACES))
def test_every_shipped_scenario_is_predicted(name: str) -> None:
    figures = predicted(name)["predicted"]
    for policy in figures["policies"].values():
        assert policy["turns_per_s"] > 0
        assert policy["bound_by"]
        assert policy["cores"] > 0
        assert policy["length_s"] > policy["window_length_s"] > 0
    assert figures["agents"] >= 1


@pytest.mark.parametrize("name", sorted(TRACES))
def test_a_trace_that_is_not_there_is_asked_for(name: str) -> None:
    with pytest.raises(TestbedError, match=r"TESTBED_TRACES.* is not set; set it, or give"):
        predicted(name)


@pytest.mark.parametrize("preset", sorted(set(PRESETS) - {"tiny"}))
def test_every_model_is_predicted_or_its_speed_is_asked_for(preset: str) -> None:
    figures = predicted("demo", **{"model.preset": preset}, **SMALL)["predicted"]
    assert figures["policies"]["pe-only"]["turns_per_s"] > 0
    try:
        predicted("demo", **{"model.preset": preset, "engines": "modelled"}, **SMALL)
    except TestbedError as error:
        assert error.hint.startswith("state compute.prefill_tflops and compute.tpot")


SILLY = [
    ({"scale.bytes": "1e9"}, "leaves nothing of a Layer Block", "82176 at most"),
    ({"scale.rate": "1e12"}, "makes a CNIC of 400Gbit/s one of 0.4bit/s", "64Kbit/s"),
    ({"scale.rate": "0"}, "a scale of rate 0", "a positive number"),
    ({"scale.bytes": "-1"}, "a scale of bytes -1", "a positive number"),
    ({"cluster.cnic": "-400Gbit"}, "'-400Gbit' is not a rate", "100Mbit"),
    ({"cluster.cnic": "0bit"}, "cluster.cnic", "greater than 0"),
    ({"duration": "-1s"}, "'-1s' is not a duration", "300ms"),
    ({"workload.agents": "0"}, "'auto', not 0; or input", "greater than or equal to 1"),
    ({"policies": "[]"}, "policies", "at least 1"),
    ({"topology.set.gpus": "0"}, "gpus=0: there must be at least one", "testbed topologies"),
    ({"topology.set.storage": "0"}, "storage=0: there must be at least one", "testbed topologies"),
    ({"topology.set.s": "9"}, "at most as fast as all CNICs", "testbed topologies"),
    ({"workload.max_context": "64"}, "the longest context has 64", "raise workload.max_context"),
    ({"workload.append_scale": "1000"}, "opens with", "lower workload.append_scale"),
    ({"model.preset": "tiny"}, "the longest context has 4096", "raise workload.max_context"),
    (
        {"engines": "modelled", "buffers.hbm": "1MiB"},
        "buffers.hbm of 1.001MiB does not hold the longest request",
        "give it more",
    ),
    ({"buffers.pe": "1MiB"}, "buffers.pe of 1.001MiB does not hold the longest", "give it more"),
    ({"storage.capacity": "1KiB"}, "storage.capacity of 1KiB does not hold", "give it more"),
    ({"topology.set.mgmt_mbit": "0.01"}, "the link pe0 - mgmt has bw=0.01", "use 0.064"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "said", "to_do"), SILLY, ids=lambda value: str(value)[:40])
def test_what_makes_no_sense_is_refused_with_what_to_do(
    changes: dict[str, str], said: str, to_do: str
) -> None:
    with pytest.raises(TestbedError) as refused:
        predicted("demo", **changes)
    told = f"{refused.value.message}\n{refused.value.hint}"
    assert said in told
    assert to_do in told


@pytest.mark.parametrize("gpus", ["1", "2"])
def test_outside_the_window_of_p_over_d_the_cnics_bind(gpus: str) -> None:
    """g = s leaves nothing of a CNIC: every share of reads is bound by them."""
    figures = predicted("demo", **{"topology.set.gpus": gpus})["predicted"]
    caps = figures["caps_turns_per_s"]
    assert caps["cnics"] < caps["all-snics"]
    for policy in figures["policies"].values():
        assert "cnic" in policy["bound_by"]
        assert policy["turns_per_s"] <= caps["cnics"] * (1 + 1e-9)


def test_storage_that_is_slower_than_its_readers_binds() -> None:
    """200 Mbit of each SNIC that reads; two storage nodes of 60 Mbit (emulated)."""
    slow = {"topology.set.storage": "2", "topology.set.storage_mbit": "60"}
    figures = predicted("demo", **slow)["predicted"]
    assert figures["caps_turns_per_s"]["best-split"] == figures["caps_turns_per_s"]["storage-snics"]
    for policy in figures["policies"].values():
        assert policy["bound_by"] == "storage-snics"
        assert policy["kv_load_bps"] == pytest.approx(120e6)
    assert predicted("demo")["predicted"]["caps_turns_per_s"]["storage-snics"] is None
