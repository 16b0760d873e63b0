"""The workload's part of the verdict: real tokens."""

from __future__ import annotations

from typing import Any

import pytest

from agents.checks import own_checks
from agents.recorded import Run
from agents.records import EventRecord, RequestRecord
from agents.settings import DualPathScenario
from testbed.experiment.scenario import load_scenario
from testbed.fidelity.checks import Check
from testbed.plan.model import Plan

NAME = "tokens as one process finds them"
SCENARIO = """
name: made
topology: {name: 1p1d}
duration: 1s
engines: network-only
"""
TOKENS = """
scale: {rate: 4000, bytes: 1}
kv: transformer
model: {preset: tiny}
workload: {start: cold}
scheduler: {fetch_period: 2us}
"""


def request(error: str = "", hit_tokens: int = 64) -> RequestRecord:
    values: dict[str, Any] = dict.fromkeys(RequestRecord.__struct_fields__, 0)
    values |= {"error": error, "hit_tokens": hit_tokens, "generate_tokens": 5, "stalls_s": []}
    values |= {"prefill": "pe0g0", "decode": "de0g0"}
    return RequestRecord(**values)


def checks(text: str, *records: RequestRecord | EventRecord) -> dict[str, Check]:
    by_kind: dict[type, list[Any]] = {}
    for record in records:
        by_kind.setdefault(type(record), []).append(record)
    plan = Plan(frozenset(), "1p1d")  # without a window nobody looks at its links
    scenario = load_scenario(SCENARIO + text, DualPathScenario)
    run = Run(scenario, plan, "pe-only", by_kind, [], {})
    return {check.name: check for check in own_checks(run)}


def test_right_tokens_that_came_of_read_kv_pass() -> None:
    check = checks(TOKENS, request(), request())[NAME]
    assert check.ok
    assert check.measured == "10 tokens in 2 requests, 128 hit tokens; 0 wrong"


def test_one_wrong_request_fails() -> None:
    event = EventRecord("client", 0.0, "wrong-tokens", 7, "the reference has other scores")
    check = checks(TOKENS, request(), request("other scores"), event)[NAME]
    assert check.ok is False
    assert check.reason == "request 7: the reference has other scores"


@pytest.mark.parametrize("records", [[], [request(hit_tokens=0)], [request("gone")]])
def test_nothing_proven_is_no_pass(records: list[RequestRecord]) -> None:
    assert checks(TOKENS, *records)[NAME].ok is False


def test_generated_kv_has_no_tokens_to_check() -> None:
    assert NAME not in checks("", request())
