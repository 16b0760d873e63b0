"""Whole runs on storage that is small, or spread over several nodes: every byte verified.

st0, st1 ══ storage fabric ══ pe0 (2 engines), de0 (2 engines)
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from agents.settings import DualPathScenario
from agents.workload import DualPath
from testbed.experiment import runner
from testbed.experiment.runner import Ran
from testbed.experiment.scenario import load_scenario
from tests.e2e.test_read_paths import Faulty, failed_checks, summary

SCENARIO = """
name: storage
topology: {{name: dualpath, set: {{gpus: 2, storage: 2}}}}
scale: {{rate: 4000, bytes: 4000}}
duration: 3s
engines: network-only
workload: {{{workload}}}
storage: {{{storage}}}
window: {{warm_up: 1s, warm_up_turns: 0, tolerance: 0.9}}
policies: [shorter-queue]
"""
POLICY = "shorter-queue"
AGENTS = "kind: agentic, trace: 32k, agents: 8"


def run(
    directory: Path,
    *,
    storage: str,
    workload: str = AGENTS,
    fault: str | None = None,
) -> Ran:
    """Run a small scenario; with a fault, st0 has it."""
    text = SCENARIO.format(storage=storage, workload=workload)
    scenario = load_scenario(text, DualPathScenario)
    agents = DualPath() if fault is None else Faulty("st0", fault)
    return runner.run(scenario, agents, directory, lambda progress: None)


def events(ran: Ran) -> Counter[str]:
    """How often each kind of event was recorded."""
    return Counter(event.kind for event in ran.outcomes[POLICY].tables["events"])


def hit_rate(ran: Ran) -> float:
    """Of the whole run: on a busy machine the window may not open."""
    requests = [r for r in ran.outcomes[POLICY].tables["requests"] if not r.error]
    return sum(r.hit_tokens for r in requests) / sum(r.prompt_tokens for r in requests)


def only_for_want_of_a_block(ran: Ran) -> bool:
    """Whether every request that failed did so because a block was gone when it was read."""
    errors = [r.error for r in ran.outcomes[POLICY].tables["requests"] if r.error]
    return all("is not stored" in error for error in errors)


def read_bytes(ran: Ran) -> dict[str, int]:
    """KV bytes that requests read from each storage node."""
    found: dict[str, int] = {}
    for transfer in ran.outcomes[POLICY].tables["transfers"]:
        if transfer.kind == "storage_read":
            found[transfer.source] = found.get(transfer.source, 0) + transfer.size_bytes
    return found


def test_two_storage_nodes_share_the_reads_of_every_request(tmp_path: Path) -> None:
    ran = run(tmp_path, storage="extent_tokens: 1024")
    assert failed_checks(ran) == {}
    seen = summary(ran, POLICY)
    assert seen["requests_failed"] == seen["events"] == 0
    assert hit_rate(ran) > 0.9
    assert seen["storage"]["evicted_bytes"] == 0
    shares = read_bytes(ran)
    assert set(shares) == {"st0", "st1"}
    assert min(shares.values()) > 0.3 * sum(shares.values())


def test_a_full_storage_evicts_and_goes_on(tmp_path: Path) -> None:
    """Room for less than half of what the agents touch: less is hit, and no byte is wrong."""
    ran = run(tmp_path, storage="extent_tokens: 1024, capacity: 1MiB")
    # A put may come when all that is stored is just being read.
    allowed = {
        f"{POLICY}: {name}" for name in ("every request ended well", "every block persisted")
    }
    assert failed_checks(ran).keys() <= allowed
    assert only_for_want_of_a_block(ran)
    seen = summary(ran, POLICY)
    storage = seen["storage"]
    assert seen["requests"] - seen["requests_failed"] >= 8
    assert storage["stored_bytes"] <= storage["capacity_bytes"] <= 2 << 20
    assert storage["working_set_bytes"] > 2 * storage["capacity_bytes"]
    assert storage["evicted_bytes"] > storage["capacity_bytes"]
    assert 0 < hit_rate(ran) < 0.9
    assert events(ran)["warm-start-evicted"] == 1


def test_a_full_storage_that_may_not_evict_refuses_and_goes_on(tmp_path: Path) -> None:
    """Agents that begin anew, and room for a few of their turns: no byte is wrong, but it fails."""
    workload = "kind: agentic, trace: 32k, agents: 8, start: cold"
    ran = run(tmp_path, storage="capacity: 700KiB, eviction: none", workload=workload)
    assert failed_checks(ran).keys() == {f"{POLICY}: every block persisted"}
    seen = summary(ran, POLICY)
    assert seen["requests_failed"] == 0
    assert seen["storage"]["evicted_bytes"] == 0
    assert hit_rate(ran) > 0
    found = events(ran)
    assert found.keys() == {"put-refused", "storage-refused"}
    assert found["put-refused"] == found["storage-refused"] > 0


def test_a_block_that_is_gone_when_it_is_read_is_never_a_wrong_byte(tmp_path: Path) -> None:
    ran = run(tmp_path, storage="extent_tokens: 1024", fault="forget-block")
    assert failed_checks(ran).keys() <= {f"{POLICY}: every request ended well"}
    assert only_for_want_of_a_block(ran)
    assert events(ran)["read-failed"] > 0
    seen = summary(ran, POLICY)
    assert seen["requests"] - seen["requests_failed"] >= 8


def test_agents_that_share_a_prefix_share_its_hits(tmp_path: Path) -> None:
    """Requests of different agents with the same first 4096 tokens; storage begins empty."""
    requests = [
        {
            "timestamp": 400 * number,
            "input_length": 9 * 512,
            "output_length": 64,
            "hash_ids": [*range(8), 100 + number],
        }
        for number in range(12)
    ]
    trace = tmp_path / "trace.jsonl"
    trace.write_text("".join(json.dumps(request) + "\n" for request in requests))
    workload = f"kind: mooncake, file: {trace}, start: cold"
    ran = run(tmp_path, storage="extent_tokens: 1024", workload=workload)
    assert failed_checks(ran) == {}
    found = ran.outcomes[POLICY].tables["requests"]
    hits = [r.hit_tokens for r in sorted(found, key=lambda r: r.request)]
    # The first finds nothing; the last comes long after it has ended, and finds what it has left.
    assert hits[0] == 0
    assert hits[-1] == 8 * 512
    assert set(hits) <= {0, 8 * 512}
    assert set(read_bytes(ran)) == {"st0", "st1"}
