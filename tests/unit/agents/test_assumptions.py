"""What results rest on: fitted and derived figures are named, stated ones are not."""

from __future__ import annotations

import pytest

from agents.assumptions import Assumptions, assumptions
from agents.settings import DualPathScenario
from testbed.experiment.scenario import load_scenario

LEAST = "name: made\ntopology: {name: 1p1d}\nduration: 10s\n"
SPEEDS = ["model.prefill_flops_per_s", "model.decode"]


def of(text: str = "") -> Assumptions:
    return assumptions(load_scenario(LEAST + text, DualPathScenario))


def test_modelled_engines_rest_on_fitted_speeds() -> None:
    assert of() == ([*SPEEDS, "compute.batch_gain"], [])
    assert of("model: {preset: qwen2.5-32b}\n") == (["compute.batch_gain"], SPEEDS)


@pytest.mark.parametrize(
    ("text", "fitted"),
    [
        ("{prefill_tflops: 300}", ["model.decode", "compute.batch_gain"]),
        ("{tpot: 20ms, batch_gain: none}", ["model.prefill_flops_per_s"]),
        ("{tpot: 20ms, prefill_tflops: 300, batch_gain: [[1, 1]]}", []),
    ],
)
def test_what_is_stated_is_no_assumption(text: str, fitted: list[str]) -> None:
    assert of(f"compute: {text}\n").fitted == fitted


def test_the_network_alone_rests_on_sizes_only() -> None:
    assert of("engines: network-only\n") == ([], [])
    fitted, derived = of("engines: network-only\nmodel: {preset: ds-27b}\n")
    assert (fitted, derived) == ([], ["model.kv_bytes_per_token", "model.max_context_tokens"])
    _, derived = of("engines: network-only\nmodel: {preset: ds-27b, kv_bytes_per_token: 21000}\n")
    assert derived == ["model.max_context_tokens"]
