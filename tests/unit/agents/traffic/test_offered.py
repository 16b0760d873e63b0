"""What a scenario asks for becomes sizes, fusing, costs and links."""

from __future__ import annotations

import pytest

from agents.caps import Shape
from agents.models import PRESETS
from agents.settings import DualPathScenario
from agents.traffic.offered import (
    Passes,
    execution_of,
    fusing_of,
    submission_of,
    volume_of,
)
from agents.traffic.settings import TrafficSection
from agents.workload import DualPath
from testbed.errors import ScenarioError
from testbed.experiment.scenario import load_scenario

LEAST = "name: made\ntopology: {name: 2p4d}\nduration: 10s\nscale: {rate: 4000, bytes: 1000}\n"
SHAPE = Shape(2, 4, 8, 100e6, 100e6)
PASSES = Passes(prefill=1.0, decode=0.1)


def load(text: str = "") -> DualPathScenario:
    return load_scenario(LEAST + text, DualPathScenario)


def test_nothing_is_sent_unless_asked_for() -> None:
    scenario = load()
    assert execution_of(scenario, SHAPE, PASSES) is None
    assert submission_of(scenario) is None
    assert scenario.topology_settings.keys() == {"cnic_mbit"}
    assert DualPath().plan_settings(scenario).lanes


@pytest.mark.parametrize("mode", ["cnic-centric", "direct", "no-lanes"])
def test_the_mode_alone_stands_for_the_section(mode: str) -> None:
    scenario = load(f"traffic: {mode}\n")
    assert scenario.traffic == TrafficSection(mode=mode)  # type: ignore[arg-type]
    assert ("pcie_mbit" in scenario.topology_settings) == (mode == "direct")
    assert DualPath().plan_settings(scenario).lanes == (mode != "no-lanes")


def test_a_token_is_dispatched_in_fp8_and_combined_in_bf16() -> None:
    scenario = load("traffic: {collectives: true}\ncluster: {nvlink: 1600Gbit}\n")
    found = execution_of(scenario, SHAPE, PASSES)
    assert found is not None
    scale = scenario.realised_scale.bytes
    assert found.dispatch_bytes == pytest.approx(7168 / scale)
    assert found.combine_bytes == pytest.approx(2 * 7168 / scale)
    assert (found.experts, found.top_k, found.nvlink) == (256, 8, True)
    assert found.layer_share == pytest.approx(58 / 61)
    assert scenario.topology_settings["nvlink_mbit"] == "400"


def test_both_roles_keep_to_the_budget() -> None:
    scenario = load("traffic: {collectives: true, messages_per_s: 500}\n")
    fused = fusing_of(scenario, SHAPE, PASSES)
    assert sum(role.messages_per_s for role in fused.values()) <= 500
    # 16 engines, 2 messages, 58 layers a second; 32 engines, 6 messages, 580 layers a second.
    assert fused["prefill"].layers == -(-16 * 2 * 58 // 250)
    assert fused["decode"].layers == -(-32 * 6 * 580 // 250)


def test_experts_of_a_node_and_no_nvlink_have_nothing_to_send() -> None:
    scenario = load("traffic: {collectives: true, ep_domain: node}\n")
    assert not any(role.messages_per_s for role in fusing_of(scenario, SHAPE, PASSES).values())
    with pytest.raises(ScenarioError, match="anybody to send to"):
        execution_of(scenario, SHAPE, PASSES)


def test_one_node_of_each_role_has_nobody_to_send_to_but_over_nvlink() -> None:
    one = Shape(1, 1, 8, 100e6, 100e6)
    with pytest.raises(ScenarioError, match="one node of each role"):
        execution_of(load("traffic: {collectives: true}\n"), one, PASSES)
    inside = load("traffic: {collectives: true}\ncluster: {nvlink: 1600Gbit}\n")
    assert execution_of(inside, one, PASSES) is not None


def test_volume_is_what_the_tokens_bytes_come_to() -> None:
    scenario = load("traffic: {collectives: true}\ncluster: {nvlink: 1600Gbit}\n")
    volume = volume_of(scenario, SHAPE, PASSES, {"prefill": 100.0, "decode": 0.0})
    both_ways = 100 * 58 * 8 * 3 * 7168 / scenario.realised_scale.bytes
    assert volume.cnic_bytes == pytest.approx(both_ways / 2)  # the other of two nodes
    # 7 of 8 GPUs in both nodes: those that are not on the rail
    assert volume.nvlink_bytes == pytest.approx(both_ways * 7 / 8)


def test_a_dense_model_reduces() -> None:
    dense = "traffic: {collectives: true}\nmodel: {preset: qwen2.5-32b}\n"
    with pytest.raises(ScenarioError, match="the model is dense"):
        execution_of(load(dense), SHAPE, PASSES)
    scenario = load(dense + "cluster: {nvlink: 1600Gbit}\n")
    found = execution_of(scenario, SHAPE, PASSES)
    assert found is not None and found.experts == 0
    assert found.reduce_bytes == pytest.approx(2 * 5120 / scenario.realised_scale.bytes)


def test_a_model_that_is_not_known_well_enough_is_refused() -> None:
    own = (
        "model: {preset: null, layers: 4, kv_bytes_per_token: 4096, active_parameters: 1e9,"
        " attention: [{flops_per_context_token: 1000}], max_context: 4096}\n"
        "traffic: {collectives: true}\n"
    )
    with pytest.raises(ScenarioError, match="what engines send each other"):
        execution_of(load(own), SHAPE, PASSES)


def test_collectives_without_computing_are_refused() -> None:
    with pytest.raises(ScenarioError, match="between layers that are computed"):
        load("engines: network-only\ntraffic: {collectives: true}\n")


@pytest.mark.parametrize("parameter", ["cnic_mbit", "nvlink_mbit", "pcie_mbit"])
def test_rates_of_links_are_those_of_the_real_cluster(parameter: str) -> None:
    with pytest.raises(ScenarioError, match=f"topology.set.{parameter} follows from"):
        load_scenario(
            LEAST.replace("{name: 2p4d}", f"{{name: 2p4d, set: {{{parameter}: 5}}}}"),
            DualPathScenario,
        )


def test_submitting_is_stretched_with_the_run() -> None:
    scenario = load("traffic: {submission_cost: true}\n")
    costs = submission_of(scenario)
    assert costs is not None
    stretch = scenario.realised_scale.stretch
    assert (costs.rdma_s, costs.copy_s) == pytest.approx((1e-6 * stretch, 6e-6 * stretch))


def test_every_preset_says_what_it_sends() -> None:
    for model in PRESETS.values():
        assert model.hidden_size and model.routed_experts is not None
        assert (model.routed_experts > 0) == bool(model.active_experts)
