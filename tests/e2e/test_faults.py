"""Runs in which nodes stop, die or lose blocks, and schedulers come and go: each ends in order.

pe0 pe1 ══ compute fabric ══ de0 de1 (1 engine each); st0, st1 ══ storage fabric ══ all of them
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from agents.records import EventRecord, RequestRecord
from agents.settings import DualPathScenario
from agents.workload import DualPath
from testbed.experiment import runner
from testbed.experiment.runner import Ran
from testbed.experiment.scenario import load_scenario
from tests.e2e.test_peers import EXAMPLE
from tests.e2e.test_read_paths import failed_checks

NODES = "prefill: 2, decode: 2, storage: 2"
BASE = """
name: faults
topology: {{name: dualpath, set: {{gpus: 1, {nodes}}}}}
duration: {duration}
calibration: false
window: {{warm_up: 1s, warm_up_turns: 0, tolerance: 0.9}}
policies: ["{policy}"]
storage: {{extent_tokens: 128}}
faults: [{faults}]
"""
GENERATED = """
scale: {rate: 4000, bytes: 4000}
engines: network-only
workload: {kind: agentic, trace: 32k, agents: 8}
scheduler: {silent_after: 1s, attempts: 6}
"""
# Requests that take long enough to be in the middle of something.
MODELLED = """
scale: {rate: 4000, bytes: 4000}
model: {preset: ds-27b}
workload: {kind: agentic, trace: 32k, agents: 8, append_scale: 0.3}
scheduler: {silent_after: 2s, attempts: 6}
"""
TOKENS = """
scale: {rate: 16000, bytes: 1}
engines: network-only
kv: transformer
scheduler: {fetch_period: 2us, silent_after: 1500ms, attempts: 6}
model: {preset: tiny}
buffers: {hbm: 64MiB}
prefill: {layers_per_transfer: 2}
workload: {kind: agentic, trace: 32k, agents: 6, start: cold,
           append_scale: 0.03, generation_scale: 0.1, max_context: 1024}
"""
COLLECTIVES = MODELLED + "traffic: {collectives: true}\ncompute: {tpot: 1us}\n"


class Seen:
    """A run, by what happened in it."""

    def __init__(self, ran: Ran) -> None:
        self.ran = ran
        (self.outcome,) = ran.outcomes.values()
        self.requests = [r for r in self.outcome.tables["requests"] if isinstance(r, RequestRecord)]

    def events(self, kind: str) -> list[EventRecord]:
        """Of one kind, in order."""
        found = [e for e in self.outcome.tables["events"] if isinstance(e, EventRecord)]
        return sorted((e for e in found if e.kind == kind), key=lambda e: e.t_s)

    def lost_s(self, node: str) -> float:
        """When a node was declared lost."""
        (event,) = [e for e in self.events("node-lost") if e.detail.startswith(f"{node}:")]
        return event.t_s


def run(directory: Path, sections: str, *faults: str, **values: str) -> Seen:
    """Run a small scenario with these faults."""
    filled = {"nodes": NODES, "duration": "4s", "policy": "round-robin", **values}
    text = BASE.format(faults=", ".join(f"{{{fault}}}" for fault in faults), **filled) + sections
    scenario = load_scenario(text, DualPathScenario)
    return Seen(runner.run(scenario, DualPath(), directory, lambda progress: None))


pytestmark = pytest.mark.xdist_group("faults")  # its fixtures are dear


@pytest.fixture(scope="module")
def losses(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Real tokens; a node of each kind is lost, and pe1 comes back after that."""
    return run(
        tmp_path_factory.mktemp("losses"),
        TOKENS,
        "at: 1500ms, kind: kill, node: st1",
        "at: 2s, kind: kill, node: de1",
        "at: 2500ms, kind: stop, node: pe1, lasts: 2500ms",
    )


def test_whatever_is_lost_every_turn_ends_with_the_right_tokens(losses: Seen) -> None:
    assert failed_checks(losses.ran) == {}
    assert not [r.error for r in losses.requests if r.error]
    checks = {check.name for check in losses.ran.verdict.checks if check.ok}
    assert checks >= {"tokens as one process finds them", "every fault ended as it should",
                      "every read accounted for", "kernel and workload agree"}  # fmt: skip
    assert "steady window" not in {check.name for check in losses.ran.verdict.checks}


def test_losses_are_events_and_figures(losses: Seen) -> None:
    summary = losses.outcome.summary
    assert summary["nodes_lost"] == ["st1", "de1", "pe1"]
    assert summary["faults"] == 4
    assert [(e.process, e.detail) for e in losses.events("fault")] == [
        ("st1", "kill"),
        ("de1", "kill"),
        ("pe1", "stop"),
        ("pe1", "resume"),
    ]
    assert summary["requests_retried"] > 0
    assert sum(r.attempts > 1 for r in losses.requests) == summary["requests_retried"]
    assert len(losses.events("request-retried")) >= summary["requests_retried"]


def test_silence_is_noticed_when_it_is_long_enough_and_an_end_at_once(losses: Seen) -> None:
    killed, stopped = (
        next(e.t_s for e in losses.events("fault") if (e.process, e.detail) == fault)
        for fault in (("de1", "kill"), ("pe1", "stop"))
    )
    assert losses.lost_s("pe1") - stopped > 1.2
    assert abs(losses.lost_s("de1") - killed) < losses.lost_s("pe1") - stopped


def test_nothing_is_served_by_who_is_lost_even_if_he_is_there_again(losses: Seen) -> None:
    served: dict[str, Callable[[RequestRecord], str]] = {
        "de1": lambda r: r.decode, "pe1": lambda r: r.prefill,
    }  # fmt: skip
    for node, engine in served.items():
        lost_s = losses.lost_s(node)
        later = [r for r in losses.requests if r.t_scheduled > lost_s]
        assert later
        assert not [r for r in later if engine(r).startswith(node)]
    sources = {t.source for t in losses.outcome.tables["transfers"] if t.kind == "storage_read"
               and t.t_first_byte > losses.lost_s("st1") + 0.5}  # fmt: skip
    assert sources == {"st0"}


@pytest.fixture(scope="module")
def restarts(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Two schedulers follow the first; a node stops for a moment, and storage has its troubles."""
    return run(
        tmp_path_factory.mktemp("restarts"),
        MODELLED,
        "at: 1s, kind: stop, node: de0, lasts: 200ms",
        "at: 1500ms, kind: restart-scheduler",
        "at: 2s, kind: forget-blocks, node: st0, share: 0.5",
        "at: 2500ms, kind: fill-storage, node: st1, lasts: 500ms",
        "at: 3500ms, kind: restart-scheduler, lasts: 500ms",
        duration="5s",
    )


def test_no_turn_is_lost_or_done_twice_when_schedulers_change(restarts: Seen) -> None:
    assert failed_checks(restarts.ran) == {}
    assert set(Counter(r.request for r in restarts.requests).values()) == {1}
    assert restarts.events("done-twice") == []
    assert len(restarts.events("scheduler-lost")) == len(restarts.events("scheduler-back")) == 2
    assert restarts.outcome.summary["nodes_lost"] == []  # nor anybody who stops for a moment
    assert restarts.outcome.summary["faults"] == 9


def test_a_new_scheduler_goes_on_with_what_engines_have(restarts: Seen) -> None:
    for back in restarts.events("scheduler-back"):
        under_way = [r for r in restarts.requests if r.t_submit < back.t_s < r.t_done]
        assert under_way
        adopted = [r for r in under_way if r.t_scheduled < back.t_s]
        assert adopted  # they were not begun again
        assert all(r.attempts == 1 for r in adopted)


def test_a_lost_member_does_not_hang_collectives_nor_a_lost_cache_its_readers(
    tmp_path: Path,
) -> None:
    seen = run(
        tmp_path,
        COLLECTIVES,
        "at: 1500ms, kind: stop, node: de1",
        "at: 4s, kind: kill, node: pe1",
        policy=f"{EXAMPLE}:CacheFirst",
    )
    assert failed_checks(seen.ran) == {}
    assert seen.outcome.summary["nodes_lost"] == ["de1", "pe1"]
    for role, node in (("de0g0", "de1"), ("pe0g0", "pe1")):
        later = [
            c
            for c in seen.outcome.tables["collectives"]
            if c.engine == role and c.t_start > seen.lost_s(node)
        ]
        assert later


def test_without_a_decode_node_requests_are_rejected_and_the_run_ends_in_order(
    tmp_path: Path,
) -> None:
    seen = run(
        tmp_path, GENERATED, "at: 1500ms, kind: kill, node: de0", nodes="storage: 1", duration="20s"
    )
    assert failed_checks(seen.ran).keys() == {"round-robin: every request ended well"}
    errors = Counter(r.error for r in seen.requests)
    assert errors.keys() == {"", "rejected: no decode node is left"}
    assert sum(errors.values()) - errors[""] == len(seen.events("request-rejected")) <= 8
    (left,) = seen.events("nothing-left")
    assert "no decode node is left" in left.detail
    began_s = min(r.t_submit for r in seen.requests)
    assert max(r.t_submit for r in seen.requests) < began_s + 20.0
    assert seen.ran.verdict.status == "FAIL"
