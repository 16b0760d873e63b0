"""The model-execution traffic that a scenario asks for, in emulated units."""

from __future__ import annotations

from typing import NamedTuple

from agents.caps import Shape
from agents.models import Model
from agents.settings import DualPathScenario
from agents.traffic.fusing import Fused, fuse
from agents.traffic.sizes import (
    BF16_BYTES,
    FP8_BYTES,
    Execution,
    messages_per_exchange,
    messages_per_ring,
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
        ScenarioError: what the model sends is not known.
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
    return Execution(
        experts=model.routed_experts,
        top_k=model.active_experts or 0,
        dispatch_bytes=element_bytes * FP8_BYTES,
        combine_bytes=element_bytes * BF16_BYTES,
        reduce_bytes=element_bytes * BF16_BYTES,
        layer_share=_layers(model) / model.layers,
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


def submission_of(scenario: DualPathScenario) -> SubmissionCosts | None:
    """Emulated costs of submitting a Layer Block; None if they are not charged."""
    if not scenario.traffic.submission_cost:
        return None
    stretch = scenario.realised_scale.stretch
    return SubmissionCosts(RDMA_WRITE_S * stretch, COPY_ENGINE_S * stretch)


def _layers(model: Model) -> int:
    return model.collective_layers or model.layers
