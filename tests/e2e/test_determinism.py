"""What a seed decides, over whole runs: two policies and two seeds.

storage ══ pe0 (1 engine) ══ de0 (1 engine) ══ storage
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agents.settings import DualPathScenario
from agents.workload import DualPath
from testbed.experiment import runner
from testbed.experiment.runner import Ran
from testbed.experiment.scenario import load_scenario

SCENARIO = """
name: seeded
topology: {{name: 1p1d, set: {{gpus: 1}}}}
scale: {{rate: 4000, bytes: 8000}}
duration: 1s
calibration: false
engines: network-only
workload: {{kind: agentic, trace: 32k, agents: 4, generation_scale: 0.2}}
window: {{warm_up: 500ms, warm_up_turns: 0, tolerance: 0.9}}
policies: [{policies}]
seed: {seed}
"""


def run(directory: Path, policies: str, seed: int) -> Ran:
    scenario = load_scenario(SCENARIO.format(policies=policies, seed=seed), DualPathScenario)
    return runner.run(scenario, DualPath(), directory, lambda progress: None)


def served(ran: Ran, policy: str) -> dict[int, tuple[Any, ...]]:
    """What a seed decides of each request that ended."""
    return {
        r.request: (
            r.agent, r.session, r.turn, r.prompt_tokens, r.generate_tokens, r.hit_tokens,
            r.read_bytes, r.written_bytes, r.verified_bytes, r.error,
        )
        for r in ran.outcomes[policy].tables["requests"]  # type: ignore[attr-defined]
    }  # fmt: skip


def test_the_same_seed_offers_the_same_and_finds_the_same_whatever_the_policy(
    tmp_path: Path,
) -> None:
    first = run(tmp_path / "first", "pe-only, shorter-queue", 5)
    again = run(tmp_path / "again", "shorter-queue", 5)
    other = run(tmp_path / "other", "shorter-queue", 6)
    found = [
        served(first, "pe-only"), served(first, "shorter-queue"), served(again, "shorter-queue"),
    ]  # fmt: skip
    # How many turns there were is the machine's affair; those that all played are the same.
    common = set.intersection(*map(set, found))
    assert len(common) >= 4
    for request in common:
        assert found[0][request] == found[1][request] == found[2][request]
    assert first.plan == again.plan == other.plan
    different = served(other, "shorter-queue")
    assert any(different[r] != found[1][r] for r in common & set(different))
