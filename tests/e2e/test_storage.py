"""Whole runs on storage that is small, or spread over several nodes: every byte verified.

st0, st1 ══ storage fabric ══ pe0 (2 engines), de0 (2 engines)
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from agents.records import RequestRecord
from agents.settings import DualPathScenario
from agents.workload import DualPath
from testbed.experiment import runner
from testbed.experiment.runner import Ran
from testbed.experiment.scenario import load_scenario
from testbed.fidelity.checks import Check
from tests.e2e.test_read_paths import Faulty, failed_checks, summary

SCENARIO = """
name: storage
topology: {{name: dualpath, set: {{gpus: 2, storage: 2}}}}
scale: {{rate: 4000, bytes: 4000}}
duration: 2s
calibration: false
engines: network-only
workload: {{{workload}}}
storage: {{{storage}}}
window: {{warm_up: 500ms, warm_up_turns: 0, tolerance: 0.9}}
policies: [shorter-queue]
scheduler: {{{scheduler}}}
"""
POLICY = "shorter-queue"
AGENTS = "kind: agentic, trace: 32k, agents: 8"


def run(
    directory: Path,
    *,
    storage: str,
    workload: str = AGENTS,
    fault: str | None = None,
    scheduler: str = "",
) -> Ran:
    """Run a small scenario; with a fault, st0 has it."""
    text = SCENARIO.format(storage=storage, workload=workload, scheduler=scheduler)
    scenario = load_scenario(text, DualPathScenario)
    agents = DualPath() if fault is None else Faulty("st0", fault)
    return runner.run(scenario, agents, directory, lambda progress: None)


def events(ran: Ran) -> Counter[str]:
    """How often each kind of event was recorded."""
    return Counter(event.kind for event in ran.outcomes[POLICY].tables["events"])


def hit_rate(ran: Ran) -> float:
    """Of the whole run: on a busy machine the window may not open."""
    well = [r for r in requests(ran) if not r.error]
    return sum(r.hit_tokens for r in well) / sum(r.prompt_tokens for r in well)


def requests(ran: Ran) -> list[RequestRecord]:
    """All of them."""
    return [r for r in ran.outcomes[POLICY].tables["requests"] if isinstance(r, RequestRecord)]


def left_by_turns_before(ran: Ran) -> dict[int, int]:
    """Of each request whose session's turn before was played: tokens in that one's full blocks."""
    turns = {(r.session, r.turn): r for r in requests(ran)}
    return {
        turns[session, turn + 1].request: (r.prompt_tokens + r.generate_tokens) // 64 * 64
        for (session, turn), r in turns.items()
        if (session, turn + 1) in turns
    }


def check(ran: Ran, name: str) -> Check:
    """One check of the verdict."""
    (found,) = (check for check in ran.verdict.checks if check.name == name)
    return found


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
    """Room for less than half of what the agents touch: less is hit, and every request ends well.

    A block that is evicted between lookup and read costs a try, no request.
    """
    ran = run(tmp_path, storage="extent_tokens: 1024, capacity: 1MiB")
    assert failed_checks(ran) == {}
    seen = summary(ran, POLICY)
    assert seen["requests"] >= 8
    assert seen["requests_failed"] == 0
    storage = seen["storage"]
    assert storage["stored_bytes"] <= storage["capacity_bytes"] <= 2 << 20
    assert storage["working_set_bytes"] > 2 * storage["capacity_bytes"]
    assert storage["evicted_bytes"] > storage["capacity_bytes"]
    assert 0 < hit_rate(ran) < 0.9
    assert events(ran)["warm-start-evicted"] == 1


def test_a_storage_without_room_refuses_puts_and_all_requests_end_well(tmp_path: Path) -> None:
    """Agents that begin anew, room for a few of their turns, and nothing may be evicted."""
    workload = "kind: agentic, trace: 32k, agents: 8, start: cold"
    ran = run(tmp_path, storage="capacity: 700KiB, eviction: none", workload=workload)
    assert failed_checks(ran) == {}
    seen = summary(ran, POLICY)
    assert seen["requests_failed"] == 0
    storage = seen["storage"]
    assert storage["evicted_bytes"] == 0
    assert hit_rate(ran) > 0
    found = events(ran)
    assert found.keys() == {"put-refused"}
    assert storage["refused_puts"] == found["put-refused"] > 0
    # A refused block comes again with the next turn of its agent, and is refused again.
    assert storage["refused_bytes"] > storage["capacity_bytes"]
    assert any("a storage too small" in remark for remark in ran.verdict.remarks)


def test_a_block_that_is_gone_when_it_is_read_is_computed_again(tmp_path: Path) -> None:
    ran = run(tmp_path, storage="extent_tokens: 1024", fault="forget-block")
    assert failed_checks(ran) == {}
    seen = summary(ran, POLICY)
    assert seen["requests"] >= 8
    assert seen["requests_failed"] == 0
    retried = [r for r in requests(ran) if r.attempts > 1]
    assert len(retried) == seen["requests_retried"] > 0
    # What is hit ends where the block was; the rest of the prompt is computed, and stored again.
    left = left_by_turns_before(ran)
    assert any(left[r.request] for r in retried if r.request in left)
    for r in requests(ran):
        if r.request in left:
            assert (r.hit_tokens < left[r.request]) == (r.attempts > 1)
    found = events(ran)
    assert found.keys() == {"read-failed", "request-failed", "request-retried"}
    assert found["request-retried"] == sum(r.attempts - 1 for r in retried)
    # The parts of these reads that st1 has, and st0 before, came all the same, for nothing.
    given_up = seen["bytes_given_up"]
    assert given_up > 0
    assert check(ran, "every read accounted for").ok
    assert given_up == sum(read_bytes(ran).values()) - sum(r.read_bytes for r in requests(ran))
    assert any("tried more than once" in remark for remark in ran.verdict.remarks)


def test_a_request_whose_blocks_go_every_time_reads_nothing_in_the_end(tmp_path: Path) -> None:
    ran = run(tmp_path, storage="extent_tokens: 1024", fault="forget-always")
    assert failed_checks(ran) == {}
    assert summary(ran, POLICY)["requests_failed"] == 0
    last = [r for r in requests(ran) if r.attempts == 3]
    assert last
    assert all(r.hit_tokens == r.read_bytes == 0 and r.verified_bytes > 0 for r in last)


def test_without_another_try_a_block_that_is_gone_fails_its_request(tmp_path: Path) -> None:
    ran = run(
        tmp_path,
        storage="extent_tokens: 1024",
        fault="forget-block",
        scheduler="attempts: 1",
    )
    assert failed_checks(ran).keys() == {f"{POLICY}: every request ended well"}
    failed = [r for r in requests(ran) if r.error]
    assert failed and all("is not stored" in r.error for r in failed)
    assert all(r.attempts == 1 for r in requests(ran))
    assert events(ran).keys() == {"read-failed", "request-failed"}


def test_agents_that_share_a_prefix_share_its_hits(tmp_path: Path) -> None:
    """Requests of different agents with the same first 4096 tokens; storage begins empty."""
    asked = [
        {
            "timestamp": 400 * number,
            "input_length": 9 * 512,
            "output_length": 64,
            "hash_ids": [*range(8), 100 + number],
        }
        for number in range(12)
    ]
    trace = tmp_path / "trace.jsonl"
    trace.write_text("".join(json.dumps(request) + "\n" for request in asked))
    workload = f"kind: mooncake, file: {trace}, start: cold"
    ran = run(tmp_path, storage="extent_tokens: 1024", workload=workload)
    assert failed_checks(ran) == {}
    hits = [r.hit_tokens for r in sorted(requests(ran), key=lambda r: r.request)]
    # The first finds nothing; the last comes long after it has ended, and finds what it has left.
    assert hits[0] == 0
    assert hits[-1] == 8 * 512
    assert set(hits) <= {0, 8 * 512}
    assert set(read_bytes(ran)) == {"st0", "st1"}
