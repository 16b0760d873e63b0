"""Pulling, and placing at once: whole runs, every byte verified.

storage ══ pe0 pe1 (2 engines each) ══ compute fabric ══ de0 ══ storage
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from agents.cluster import Cluster
from agents.records import EventRecord, RequestRecord
from agents.settings import DualPathScenario
from agents.workload import DualPath
from testbed.experiment import runner
from testbed.experiment.runner import Ran
from testbed.experiment.scenario import load_scenario
from testbed.plan.model import Plan
from tests.e2e.test_read_paths import SMALL, failed_checks

ROOT = Path(__file__).resolve().parents[2]
BETA = 40_000
HBM_TOKENS = 36_000


def run(directory: Path, scheduler: str, workload: DualPath | None = None, **values: object) -> Ran:
    """Run a small scenario with a section `scheduler`."""
    filled = {
        "preset": "2p1d",
        "gpus": 2,
        "engines": "network-only",
        "agents": 16,
        "policies": "shorter-queue",
        **values,
    }
    text = SMALL.format(**filled) + f"scheduler: {scheduler}\n"
    scenario = load_scenario(text, DualPathScenario)
    return runner.run(scenario, workload or DualPath(), directory, lambda progress: None)


def requests_of(ran: Ran) -> list[RequestRecord]:
    """Those of the only policy; all of them ended well."""
    (outcome,) = ran.outcomes.values()
    assert failed_checks(ran) == {}
    assert outcome.summary["events"] == 0
    assert outcome.summary["bytes_verified"] > 0
    requests = list(outcome.tables["requests"])
    assert requests and all(isinstance(r, RequestRecord) and not r.error for r in requests)
    return requests  # type: ignore[return-value]


@pytest.mark.parametrize(
    "scheduler",
    [
        "{placement: least-tokens}",
        "{placement: round-robin}",
        # Every choice the other way round.
        "{unreported: ignored, read_queue_falls: bytes, free_hbm: gross, ties: first,"
        " prefill_scope: group, fetch_period: 10ms}",
    ],
)
def test_every_byte_arrives_under_every_choice(tmp_path: Path, scheduler: str) -> None:
    requests = requests_of(run(tmp_path, scheduler))
    assert {r.prefill for r in requests} == {f"pe{n}g{k}" for n in (0, 1) for k in (0, 1)}
    assert {r.decode for r in requests} == {"de0g0", "de0g1"}


def most_held(requests: list[RequestRecord], engine: str, until: str, tokens: str) -> int:
    """Most tokens that an engine had when it was given one more request, that one left out."""
    return max(
        sum(
            getattr(r, tokens)
            for r in requests
            if getattr(r, engine) == getattr(mine, engine)
            and r.t_scheduled < mine.t_scheduled < getattr(r, until)
        )
        for mine in requests
    )


def test_no_engine_is_given_more_while_it_has_more_than_beta(tmp_path: Path) -> None:
    """16 agents have 17 K tokens each: more than the engines may have."""
    held = {}
    for beta in (BETA, "auto"):
        requests = requests_of(run(tmp_path / str(beta), f"{{beta: {beta}}}"))
        held[beta] = most_held(requests, "prefill", "t_first_token", "prompt_tokens")
    assert 0 < held[BETA] <= BETA
    assert held["auto"] > BETA


class LittleHBM(DualPath):
    """Engines of one role whose HBM holds a stated number of tokens."""

    def __init__(self, tokens: int, role: str = "decode") -> None:
        super().__init__()
        self._tokens, self._role = tokens, role

    def _cluster(
        self, scenario: DualPathScenario, plan: Plan, variant: str, directory: Path
    ) -> Cluster:
        cluster = super()._cluster(scenario, plan, variant, directory)
        size = self._tokens // 64 * cluster.layout.full_block_bytes
        given = cluster.buffers
        if self._role == "decode":
            tight = msgspec.structs.replace(given, hbm=size)
        else:  # a few layers of a prompt are there at a time
            groups = cluster.slots * cluster.layers_per_transfer
            tight = msgspec.structs.replace(given, prefill_hbm=size * groups // cluster.layers)
        return msgspec.structs.replace(cluster, buffers=tight)


def test_requests_wait_for_hbm_in_the_scheduler(tmp_path: Path) -> None:
    """1P1D: two engines with room for one or two prompts; those that are let in have room."""
    held = {}
    for free_hbm in ("net", "gross"):
        ran = run(
            tmp_path / free_hbm,
            f"{{free_hbm: {free_hbm}}}",
            LittleHBM(HBM_TOKENS),
            preset="1p1d",
            agents=12,
        )
        held[free_hbm] = most_held(requests_of(ran), "decode", "t_decode_end", "prompt_tokens")
    assert 0 < held["net"] <= HBM_TOKENS
    assert held["gross"] > HBM_TOKENS


@pytest.mark.parametrize("role", ["decode", "prefill"])
def test_a_request_that_no_engine_can_hold_is_rejected_and_blocks_nobody(
    tmp_path: Path, role: str
) -> None:
    ran = run(tmp_path, "{}", LittleHBM(16_000, role), preset="1p1d", agents=12)
    (outcome,) = ran.outcomes.values()
    requests = [r for r in outcome.tables["requests"] if isinstance(r, RequestRecord)]
    rejected = {r.request: r for r in requests if r.error}
    # The client has its answer at once: no engine was given the request.
    reason = f"of HBM that a {role} engine has"
    assert all(r.error.startswith("rejected: ") and reason in r.error for r in rejected.values())
    assert all(r.attempts == r.t_scheduled == r.verified_bytes == 0 for r in rejected.values())
    fits = {r.request for r in requests if r.prompt_tokens + r.generate_tokens <= 16_000 - 64}
    long = {r.request for r in requests if r.prompt_tokens > 16_000 + 64}
    assert fits and long
    assert long <= rejected.keys() and not fits & rejected.keys()
    assert all(r.verified_bytes > 0 for r in requests if r.request not in rejected)
    # Each is an event, and nothing else happened.
    events = [e for e in outcome.tables["events"] if isinstance(e, EventRecord)]
    assert {e.kind for e in events} == {"request-rejected"}
    assert sorted(e.request for e in events) == sorted(rejected)
    assert all(reason in e.detail for e in events)
    # The verdict says which request, and why.
    assert ran.verdict.status == "FAIL"
    (name,) = failed_checks(ran)
    assert name.endswith("every request ended well")
    assert any("rejected: " in why and reason in why for why in ran.verdict.reasons)
    assert outcome.summary["requests_failed"] == len(rejected)


def test_a_profile_can_be_pasted_into_the_scenario(tmp_path: Path) -> None:
    scenario = tmp_path / "mine.yaml"
    filled = {"preset": "1p1d", "gpus": 2, "engines": "network-only", "agents": 8}
    text = SMALL.format(**filled, policies="pe-only")
    scenario.write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "testbed.cli.main", "profile", str(scenario), "--json",
         "--accept-unfaithful", "--out", str(tmp_path / "runs")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0
    found = json.loads(done.stdout)
    # The line carries KV and headers: never more than the formula, and most of it.
    assert 0 < found["alpha"] <= 1.01 * found["alpha_formula"]
    assert found["beta"] > 0 and 0 < found["engine_busy_share"] <= 1
    pasted = f"{text}scheduler: {{alpha: {found['alpha']}, beta: {found['beta']}}}\n"
    assert load_scenario(pasted, DualPathScenario).scheduler.alpha == found["alpha"]
