"""A transformer's tokens over every read path are those of one process that never moved a byte.

storage ══ pe0 … (2 engines) ══ compute fabric ══ de0 (2 engines) ══ storage
"""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.records import RequestRecord
from agents.settings import DualPathScenario
from agents.workload import DualPath
from testbed.experiment import runner
from testbed.experiment.runner import Ran
from testbed.experiment.scenario import load_scenario
from tests.e2e.test_read_paths import Faulty, failed_checks, summary

SMALL = """
name: tokens
topology: {{name: {preset}, set: {{gpus: 2}}}}
scale: {{rate: 8000, bytes: 1}}
duration: {duration}
calibration: false
engines: network-only
kv: transformer
scheduler: {{fetch_period: 2us}}
model: {{preset: tiny}}
prefill: {{layers_per_transfer: 2}}
workload: {{kind: agentic, trace: 32k, agents: 3, start: cold,
           append_scale: 0.02, generation_scale: 0.08, max_context: 512}}
window: {{warm_up: 500ms, warm_up_turns: 0, tolerance: 0.9}}
policies: [{policies}]
"""


# Engines that compute.
BLOCK_BY_BLOCK = """engines: modelled
compute: {{prefill_tflops: 500, tpot: 1us}}
buffers: {{hbm: 64MiB}}"""


def run(directory: Path, workload: DualPath | None = None, **values: str) -> Ran:
    """Run a small scenario of real tokens."""
    filled = {"preset": "1p1d", "policies": "pe-only", "duration": "2s", **values}
    scenario = load_scenario(SMALL.format(**filled), DualPathScenario)
    return runner.run(scenario, workload or DualPath(), directory, lambda progress: None)


def records(ran: Ran, policy: str) -> list[RequestRecord]:
    """The requests of a policy."""
    return [r for r in ran.outcomes[policy].tables["requests"] if isinstance(r, RequestRecord)]


@pytest.mark.parametrize(
    ("preset", "policies"),
    [
        ("1p1d", "pe-only, de-only, round-robin, shorter-queue"),
        ("2p1d", "round-robin, shorter-queue"),
    ],
)
def test_all_tokens_are_those_of_one_process(tmp_path: Path, preset: str, policies: str) -> None:
    ran = run(tmp_path, preset=preset, policies=policies)
    assert failed_checks(ran) == {}
    for policy in ran.outcomes:
        seen = records(ran, policy)
        assert summary(ran, policy)["requests_failed"] == 0
        assert max(r.turn for r in seen if r.hit_tokens) >= 2
    checks = [c for c in ran.verdict.checks if c.name == "tokens as one process finds them"]
    assert len(checks) == len(ran.outcomes)
    read = {policy: {r.path for r in records(ran, policy)} for policy in ran.outcomes}
    assert read["round-robin"] >= {"pe", "de"}


@pytest.mark.parametrize(
    ("process", "fault", "policy", "shows"),
    [
        ("st0", "flip-stored-bit", "pe-only", "digest"),
        ("de0", "flip-kept-bit", "pe-only", "KV that prefill loaded"),
        ("pe0", "flip-loaded-bit", "pe-only", "KV that prefill loaded"),
        ("pe0", "flip-loaded-bit", "de-only", "KV that prefill loaded"),
        ("pe0", "flip-returned-byte", "pe-only", "KV that decode read"),
        ("de0", "flip-decoded-bit", "de-only", "KV that decode read"),
        ("pe0", "swap-layers", "pe-only", "KV that prefill loaded"),
        ("de0", "swap-layers", "de-only", "KV that prefill loaded"),
    ],
)
def test_one_flipped_bit_or_two_swapped_layers_fail_the_run(
    tmp_path: Path, process: str, fault: str, policy: str, shows: str
) -> None:
    ran = run(tmp_path, workload=Faulty(process, fault), policies=policy, duration="1s")
    assert ran.verdict.status == "FAIL"
    assert summary(ran, policy)["requests_failed"] > 0
    errors = [r.error for r in records(ran, policy) if r.error]
    assert all(shows in error for error in errors), errors[:3]
    failed = {check.name for check in ran.verdict.checks if not check.ok}
    assert "every request ended well" in failed
    assert "tokens as one process finds them" in failed


def test_tokens_of_prompts_in_chunks_are_those_of_one_process(tmp_path: Path) -> None:
    """Engines that compute a block at a time: chunks attend to what came before."""
    text = SMALL.replace("engines: network-only", BLOCK_BY_BLOCK)
    text = text.replace("per_transfer: 2", "per_transfer: 2, quota: 0.00001us")
    scenario = load_scenario(
        text.format(preset="1p1d", policies="pe-only, de-only", duration="2s"), DualPathScenario
    )
    ran = runner.run(scenario, DualPath(), tmp_path, lambda progress: None)
    assert failed_checks(ran) == {}
    for policy in ran.outcomes:
        seen = records(ran, policy)
        assert sum(r.reloaded_bytes for r in seen) > 0
        assert max(r.turn for r in seen if r.hit_tokens) >= 1


@pytest.mark.parametrize("policies", ["pe-only, de-only", "split"])
def test_tokens_are_right_though_blocks_go_before_they_are_read(
    tmp_path: Path, policies: str
) -> None:
    """What is missing is computed again, from what is left: to every bit the same KV."""
    ran = run(tmp_path, workload=Faulty("st0", "forget-block"), policies=policies)
    assert failed_checks(ran) == {}
    for policy in ran.outcomes:
        assert summary(ran, policy)["requests_failed"] == 0
        retried = [r for r in records(ran, policy) if r.attempts > 1]
        assert any(r.hit_tokens for r in retried)
        # And what they have left in storage is hit by later turns.
        again = {(r.session, r.turn + 1) for r in retried}
        assert any(r.hit_tokens for r in records(ran, policy) if (r.session, r.turn) in again)


@pytest.mark.parametrize(
    ("process", "policy", "other"), [("pe0", "pe-only", "de"), ("de0", "de-only", "pe")]
)
def test_tokens_are_right_though_reads_fail_on_one_side(
    tmp_path: Path, process: str, policy: str, other: str
) -> None:
    ran = run(tmp_path, workload=Faulty(process, "fail-some-reads"), policies=policy)
    assert failed_checks(ran) == {}
    assert summary(ran, policy)["requests_failed"] == 0
    retried = [r for r in records(ran, policy) if r.attempts > 1]
    assert retried and {r.path for r in retried} == {other}
