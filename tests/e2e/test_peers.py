"""KV from decode nodes' caches: own node and other, evicted in between, real tokens.

storage ══ pe0 (2 engines) ══ compute fabric ══ de0 de1 (2 engines each) ══ storage
"""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.records import EventRecord, RequestRecord, TransferRecord
from agents.settings import DualPathScenario
from agents.workload import DualPath
from testbed.experiment import runner
from testbed.experiment.runner import Ran
from testbed.experiment.scenario import load_scenario
from tests.e2e import test_tokens
from tests.e2e.test_read_paths import SMALL, Faulty, failed_checks, summary

EXAMPLE = Path(__file__).resolve().parents[2] / "scripts" / "examples" / "cache_first.py"
CACHE_FIRST = f"'{EXAMPLE}:CacheFirst'"
NAME = "cache_first.CacheFirst"


def run(
    directory: Path, *, cache: str = "80GiB", workload: DualPath | None = None, **values: object
) -> Ran:
    """Run a small scenario with a section `cache`."""
    filled = {
        "preset": "1p2d",
        "gpus": 2,
        "engines": "network-only",
        "agents": 6,
        "policies": CACHE_FIRST,
        **values,
    }
    text = SMALL.format(**filled) + f"cache: {{capacity: {cache}}}\n"
    scenario = load_scenario(text, DualPathScenario)
    return runner.run(scenario, workload or DualPath(), directory, lambda progress: None)


def requests(ran: Ran, policy: str = NAME) -> list[RequestRecord]:
    """The requests of a policy."""
    return [r for r in ran.outcomes[policy].tables["requests"] if isinstance(r, RequestRecord)]


def moved(ran: Ran, policy: str, kind: str) -> dict[int, int]:
    """Request -> bytes of the transfers of a kind."""
    found: dict[int, int] = {}
    for t in ran.outcomes[policy].tables["transfers"]:
        if isinstance(t, TransferRecord) and t.kind == kind:
            found[t.request] = found.get(t.request, 0) + t.size_bytes
    return found


def test_caches_serve_their_own_node_and_others_without_storage(tmp_path: Path) -> None:
    ran = run(tmp_path)
    assert failed_checks(ran) == {}
    seen = summary(ran, NAME)
    assert seen["requests_failed"] == 0
    own, other = moved(ran, NAME, "peer_copy"), moved(ran, NAME, "peer_read")
    assert own and other
    stored = moved(ran, NAME, "storage_read")
    from_cache = [r for r in requests(ran) if r.path == "peer" and not r.error]
    assert from_cache
    for r in from_cache:
        found = own.get(r.request, 0) + other.get(r.request, 0) + stored.get(r.request, 0)
        assert found == r.read_bytes
    assert any(r.request not in stored for r in from_cache)
    cache = seen["cache"]
    assert 0 < cache["held_bytes"] <= cache["capacity_bytes"]
    assert cache["evicted_bytes"] == cache["missed"] == 0
    assert cache["own_share"] > 0 and cache["other_share"] > 0
    print(cache, seen["prediction_error"])


def test_the_three_way_choice_of_one_prefill_and_one_decode_node(tmp_path: Path) -> None:
    ran = run(tmp_path, preset="1p1d", policies="shorter-queue, adaptive")
    assert failed_checks(ran) == {}
    assert summary(ran, "shorter-queue")["cache"] is None
    seen = summary(ran, "adaptive")
    assert seen["requests_failed"] == 0
    assert {r.path for r in requests(ran, "adaptive")} >= {"peer"}
    assert seen["cache"]["own_share"] > 0
    assert not moved(ran, "adaptive", "peer_read")


def test_iterating_engines_take_kv_from_caches(tmp_path: Path) -> None:
    ran = run(tmp_path, engines="modelled", agents=4, policies=f"{CACHE_FIRST}, split")
    assert failed_checks(ran) == {}
    for policy in ran.outcomes:
        assert summary(ran, policy)["requests_failed"] == 0
    assert any(r.path == "peer" for r in requests(ran))
    assert any(r.path == "split" for r in requests(ran, "split"))


def test_small_caches_evict_and_are_never_overfull(tmp_path: Path) -> None:
    ran = run(tmp_path, cache="4GiB", agents=8)
    assert failed_checks(ran) == {}
    cache = summary(ran, NAME)["cache"]
    assert cache["evicted_bytes"] > 0
    assert cache["held_bytes"] <= cache["capacity_bytes"] <= 1.05 * 2 * 4 * 2**30 / 4000


@pytest.mark.parametrize("preset", ["1p1d", "1p2d"])
def test_blocks_evicted_before_they_are_read_come_from_storage(tmp_path: Path, preset: str) -> None:
    ran = run(tmp_path, preset=preset, workload=Faulty("de0", "evict-early"))
    assert failed_checks(ran) == {}
    assert summary(ran, NAME)["requests_failed"] == 0
    missed = [
        e
        for e in ran.outcomes[NAME].tables["events"]
        if isinstance(e, EventRecord) and e.kind == "cache-missed"
    ]
    assert missed
    assert summary(ran, NAME)["cache"]["missed"] == len(missed)
    stored = moved(ran, NAME, "storage_read")
    ended = {r.request: r for r in requests(ran)}
    again = [ended[e.request] for e in missed if e.request in ended]
    assert again and all(not r.error and stored[r.request] > 0 for r in again)


@pytest.mark.parametrize("preset", ["1p1d", "1p2d"])
def test_a_flipped_bit_in_a_cache_fails_the_run(tmp_path: Path, preset: str) -> None:
    ran = run(tmp_path, preset=preset, workload=Faulty("de0", "flip-cached-bit"))
    assert ran.verdict.status == "FAIL"
    assert summary(ran, NAME)["requests_failed"] > 0
    assert any("wrong-bytes" in reason for reason in ran.verdict.reasons)


def test_tokens_of_cached_kv_are_those_of_one_process(tmp_path: Path) -> None:
    text = test_tokens.SMALL.format(preset="1p2d", duration="2s", policies=CACHE_FIRST)
    text = text.replace("rate: 8000", "rate: 16000")  # a decode node more
    scenario = load_scenario(text, DualPathScenario)
    ran = runner.run(scenario, DualPath(), tmp_path, lambda progress: None)
    assert failed_checks(ran) == {}
    assert moved(ran, NAME, "peer_copy") and moved(ran, NAME, "peer_read")
    assert max(r.turn for r in requests(ran) if r.path == "peer") >= 2
