"""Sessions that arrive in the open, and sessions in WEKA's files: real bytes, nothing fails.

storage ══ pe0 (2 engines) ══ de0 (2 engines) ══ storage
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agents.settings import DualPathScenario
from agents.workload import DualPath
from testbed.experiment import runner
from testbed.experiment.scenario import load_scenario
from tests.e2e.test_read_paths import failed_checks, summary

SCENARIO = """
name: made
topology: {{name: 1p1d, set: {{gpus: 2}}}}
scale: {{rate: 4000, bytes: 4000}}
duration: 4s
calibration: false
engines: network-only
window: {{warm_up: 1s, warm_up_turns: 0, tolerance: 0.9}}
policies: [shorter-queue]
workload: {workload}
"""


def served(workload: str, directory: Path) -> dict[str, Any]:
    """What a run with this workload came to, none of whose checks may fail."""
    scenario = load_scenario(SCENARIO.format(workload=workload), DualPathScenario)
    ran = runner.run(scenario, DualPath(), directory, lambda progress: None)
    assert failed_checks(ran) == {}
    seen = summary(ran, "shorter-queue")
    assert seen["requests_failed"] == 0
    assert seen["bytes_verified"] > 0
    return seen


def test_sessions_arrive_and_their_rate_is_reported(tmp_path: Path) -> None:
    seen = served("{kind: agentic, trace: 32k, arrivals: {rate: 2/s}, agents: 6}", tmp_path)
    assert seen["aps_offered"] == 2.0
    assert seen["sessions_arrived"] > 0
    assert seen["best_split_bps"] > seen["kv_load_bps"] > 0
    assert seen["gap"] == pytest.approx(1 - seen["kv_load_bps"] / seen["best_split_bps"])
    assert seen["gpu_wait_share"] is None  # nothing is computed
    assert seen["fitted"] == []


def test_sessions_in_wekas_files_are_served_with_their_pauses(tmp_path: Path) -> None:
    traces = tmp_path / "traces"
    traces.mkdir()
    for number in range(4):
        requests = [
            {
                "t": 10.0 * turn,
                "type": "n",
                "in": 2000 + 640 * turn,
                "out": 80,
                "hash_ids": list(range(1, (2000 + 640 * turn) // 64 + 1)),
                "api_time": 1.0,
                "think_time": 0.2,
            }
            for turn in range(8)
        ]
        session = {"id": f"s{number}", "block_size": 64, "requests": requests}
        (traces / f"s{number}.json").write_text(json.dumps(session))
    seen = served(
        f"{{kind: weka, file: {traces}, agents: 8, think: trace, think_limit: 100ms}}",
        tmp_path / "runs",
    )
    assert seen["sessions_completed"] > 0
    # Seven of eight turns find all that the prompt before left.
    assert seen["hit_rate"] > 0.6
