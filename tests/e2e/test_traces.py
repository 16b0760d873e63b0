"""A small slice of each recorded trace, where it is present: real prompts, real hits, real bytes.

storage ══ pe0 (2 engines) ══ de0 (2 engines) ══ storage
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agents.settings import DualPathScenario
from agents.workload import DualPath
from testbed.experiment import runner
from testbed.experiment.scenario import load_scenario
from tests.e2e.test_read_paths import failed_checks, summary

ROOT = Path(__file__).resolve().parents[2]
SLICES = {
    "sessions": """
  kind: sessions
  file: {directory}/agentic_sessions.jsonl.gz
  agents: 4
  max_context: 40000
""",
    "mooncake": """
  kind: mooncake
  file: {directory}/mooncake_conversation_trace.jsonl.gz
  time_compression: 40
  skip: 10min
  max_context: 30000
""",
}
SCENARIO = """
name: slice
topology: {{name: 1p1d, set: {{gpus: 2}}}}
scale: {{rate: 4000, bytes: 8000}}
duration: 3s
calibration: false
engines: network-only
window: {{warm_up: 1s, warm_up_turns: 0, tolerance: 0.9}}
policies: [shorter-queue]
workload:{workload}
"""


@pytest.mark.parametrize("kind", list(SLICES))
def test_a_slice_of_a_recorded_trace_is_served(kind: str, tmp_path: Path) -> None:
    directory = Path(os.environ.get("TESTBED_TRACES") or ROOT.parent / "shared" / "traces")
    if not directory.is_dir():
        pytest.skip("no recorded traces: set TESTBED_TRACES to their directory")
    workload = SLICES[kind].format(directory=directory)
    scenario = load_scenario(SCENARIO.format(workload=workload), DualPathScenario)
    ran = runner.run(scenario, DualPath(), tmp_path, lambda progress: None)
    assert failed_checks(ran) == {}
    seen = summary(ran, "shorter-queue")
    assert seen["requests_failed"] == 0
    assert seen["bytes_verified"] > 0
