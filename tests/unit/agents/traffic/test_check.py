"""What was computed and what was exchanged are compared, engine by engine."""

from __future__ import annotations

import pytest

from agents.recorded import Run
from agents.records import CollectiveRecord, IterationRecord, StepRecord
from agents.settings import DualPathScenario
from agents.traffic.check import exchanged
from testbed.experiment.scenario import load_scenario
from testbed.plan.model import Plan

SCENARIO = """
name: exchanged
topology: {name: 2p1d, set: {gpus: 1}}
scale: {rate: 4000, bytes: 4000}
duration: 3s
engines: modelled
workload: {kind: agentic, trace: 32k, agents: 1}
traffic: {collectives: true}
policies: [pe-only]
"""
LAYERS = 58  # of DS-660B's 61, the others are dense


def iteration(engine: str, tokens: int) -> IterationRecord:
    return IterationRecord(engine, 1, 0.0, 1.0, 1, tokens, 0.5, 0.5, 0.0, 0.0, 0.0)


def collective(engine: str, layers: float, tokens: float) -> CollectiveRecord:
    return CollectiveRecord("all-to-all", 1, engine, 2, layers, tokens, 1000, 0.0, 0.1, 0.2)


def run(*records: IterationRecord | CollectiveRecord | StepRecord) -> Run:
    by_kind: dict[type, list[object]] = {}
    for record in records:
        by_kind.setdefault(type(record), []).append(record)
    scenario = load_scenario(SCENARIO, DualPathScenario)
    return Run(scenario, Plan(frozenset(), "2p1d"), "pe-only", by_kind, [], {})  # type: ignore[arg-type]


def test_every_layer_of_every_token_is_exchanged_however_it_was_fused() -> None:
    whole = [iteration("pe0g0", 300), iteration("pe0g0", 100), StepRecord("de0g0", 0, 1, 3, 9.0)]
    fused = [
        collective("pe0g0", 20, 300), collective("pe0g0", 38, 300), collective("pe0g0", 58, 100),
        collective("de0g0", 58, 3),
    ]  # fmt: skip
    check = exchanged(run(*whole, *fused))
    assert check.ok, check.reason
    assert check.measured == "2.337e+04 tokens x layers in 4 collectives"


@pytest.mark.parametrize("layers", [0, 10, 200])
def test_an_engine_that_exchanged_too_little_or_too_much_is_named(layers: int) -> None:
    computed = [iteration("pe0g0", 100) for _ in range(20)]
    found = [collective("pe0g0", layers, 100.0) for _ in range(20)]
    check = exchanged(run(*computed, *(found if layers else [])))
    assert check.ok is False
    assert f"pe0g0 computed {20 * 100 * LAYERS} tokens x layers" in check.reason


def test_what_is_still_put_together_at_the_end_may_be_missing() -> None:
    computed = [iteration("pe0g0", 100) for _ in range(3)]
    assert exchanged(run(*computed, *(collective("pe0g0", LAYERS, 100) for _ in range(2)))).ok


def test_a_run_in_which_nothing_was_computed_does_not_pass() -> None:
    assert exchanged(run()).ok is False
