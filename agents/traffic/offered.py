"""The model-execution traffic that a scenario asks for, in emulated units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from agents.caps import Shape
from agents.models import Model
from agents.settings import DualPathScenario
from agents.traffic.fusing import Fused, fuse
from agents.traffic.sizes import (
    ALL_REDUCES_PER_LAYER,
    BF16_BYTES,
    FP8_BYTES,
    Execution,
    messages_per_exchange,
    messages_per_ring,
    spread,
)
from agents.traffic.submission import COPY_ENGINE_S, RDMA_WRITE_S, SubmissionCosts
from testbed.errors import ScenarioError


class Passes(NamedTuple):
    """Emulated seconds of one pass through the model, by role."""

    prefill: float
    decode: float


def execution_of(scenario: DualPathScenario, shape: Shape, passes: Passes) -> Execution | None:
    """Sizes and fusing of collectives; None if the scenario has none.

    Args:
        scenario: the model, and what to emulate of it.
        shape: of the cluster.
        passes: how long engines compute between the collectives of a layer and of the same
            layer next time; at least.

    Raises:
        ScenarioError: what the model sends is not known, or goes nowhere.
    """
    if not scenario.traffic.collectives:
        return None
    model, scale = scenario.resolved_model, scenario.realised_scale
    if model.hidden_size is None or model.routed_experts is None:
        raise ScenarioError(
            f"what engines send each other for {model.name} is not known",
            hint="choose a model of known hidden size and experts, or traffic.collectives: false",
        )
    element_bytes = model.hidden_size / scale.bytes
    fused = fusing_of(scenario, shape, passes)
    if not any(role.messages_per_s for role in fused.values()):
        raise ScenarioError(
            "traffic.collectives: no engine of this cluster has anybody to send to: there is one "
            "node of each role, or the model is dense, or ep_domain is node",
            hint="give cluster.nvlink a rate (GPUs of a node then exchange), or more nodes",
        )
    return Execution(
        experts=model.routed_experts,
        top_k=model.active_experts or 0,
        dispatch_bytes=element_bytes * FP8_BYTES,
        combine_bytes=element_bytes * BF16_BYTES,
        reduce_bytes=element_bytes * BF16_BYTES,
        layer_share=layer_share(model),
        copies=scenario.traffic.copies,
        ep_domain=scenario.traffic.ep_domain,
        nvlink=scenario.cluster.nvlink is not None,
        fused_layers={role: found.layers for role, found in fused.items()},
    )


def fusing_of(scenario: DualPathScenario, shape: Shape, passes: Passes) -> dict[str, Fused]:
    """How many layers share a collective, by role; each role has half of the message budget."""
    model = scenario.resolved_model
    nvlink = scenario.cluster.nvlink is not None
    found = {}
    for role, nodes, pass_s in (
        ("prefill", shape.prefill, passes.prefill),
        ("decode", shape.decode, passes.decode),
    ):
        among = nodes if scenario.traffic.ep_domain == "role" else 1
        if model.routed_experts:
            messages = messages_per_exchange(among, shape.engines, nvlink=nvlink)
        else:
            messages = messages_per_ring(shape.engines) if nvlink else 0
        found[role] = fuse(
            _layers(model),
            pass_s,
            engines=nodes * shape.engines,
            messages=messages,
            most_messages_per_s=scenario.traffic.messages_per_s / 2,
        )
    return found


class Volume(NamedTuple):
    """What collectives carry in a second of the mean load, all engines together, emulated.

    Args:
        cnic_bytes, nvlink_bytes: sent over the one and the other.
        messages: transfers.
    """

    cnic_bytes: float
    nvlink_bytes: float
    messages: float


def volume_of(
    scenario: DualPathScenario,
    shape: Shape,
    passes: Passes,
    tokens_per_s: Mapping[str, float],
) -> Volume:
    """The volume of a run's collectives.

    Args:
        scenario, shape, passes: as `execution_of`.
        tokens_per_s: role -> tokens that go through the model, all engines together.
    """
    execution = execution_of(scenario, shape, passes)
    if execution is None:
        return Volume(0.0, 0.0, 0.0)
    fused = fusing_of(scenario, shape, passes)
    layers = _layers(scenario.resolved_model)
    cnic = nvlink = 0.0
    for role, nodes in (("prefill", shape.prefill), ("decode", shape.decode)):
        token_layers = tokens_per_s[role] * layers
        if not execution.experts:
            ring = 2 * (shape.engines - 1) * ALL_REDUCES_PER_LAYER
            nvlink += token_layers * execution.reduce_bytes * ring * execution.nvlink
            continue
        among = nodes if execution.ep_domain == "role" else 1
        to_node, to_gpu = spread(execution, among, shape.engines)
        both_ways = token_layers * (execution.dispatch_bytes + execution.combine_bytes)
        cnic += both_ways * (among - 1) * to_node
        nvlink += both_ways * among * (shape.engines - 1) * to_gpu * execution.nvlink
    return Volume(cnic, nvlink, sum(role.messages_per_s for role in fused.values()))


def submission_of(scenario: DualPathScenario) -> SubmissionCosts | None:
    """Emulated costs of submitting a Layer Block; None if they are not charged."""
    if not scenario.traffic.submission_cost:
        return None
    stretch = scenario.realised_scale.stretch
    return SubmissionCosts(RDMA_WRITE_S * stretch, COPY_ENGINE_S * stretch)


def layer_share(model: Model) -> float:
    """Layers of a model that have collectives, of those that have KV."""
    return _layers(model) / model.layers


def _layers(model: Model) -> int:
    return model.collective_layers or model.layers
