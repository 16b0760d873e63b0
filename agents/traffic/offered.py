"""The model-execution traffic that a scenario asks for, in emulated units."""

from __future__ import annotations

import math
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
    cnic = nvlink = 0.0
    for role, nodes in (("prefill", shape.prefill), ("decode", shape.decode)):
        token = _of_token(scenario, execution, nodes, shape.engines)
        cnic += tokens_per_s[role] * token.cnic_bytes
        nvlink += tokens_per_s[role] * token.nvlink_bytes
    return Volume(cnic, nvlink, sum(role.messages_per_s for role in fused.values()))


class TurnExchange(NamedTuple):
    """What the collectives of a mean turn take, emulated.

    Args:
        prefill_bytes, decode_bytes: sent over the CNICs of all engines of a role.
        prefill_s, decode_s: that the prefill and the decode engine wait for them, on idle links.
    """

    prefill_bytes: float
    decode_bytes: float
    prefill_s: float
    decode_s: float


def turn_exchange(
    scenario: DualPathScenario, shape: Shape, passes: Passes, tokens: Mapping[str, float]
) -> TurnExchange:
    """The collectives of one turn.

    An engine sends its tokens, then has the results sent back, by its own CNIC; where experts are
    on other GPUs of a node, either way ends with one over its NVLink port.  How layers are fused
    changes neither the bytes nor their time.

    Args:
        scenario, shape, passes: as `execution_of`.
        tokens: role -> tokens of the turn that go through the model.
    """
    execution = execution_of(scenario, shape, passes)
    if execution is None:
        return TurnExchange(0.0, 0.0, 0.0, 0.0)
    by_role = {
        role: _of_token(scenario, execution, nodes, shape.engines)
        for role, nodes in (("prefill", shape.prefill), ("decode", shape.decode))
    }
    nvlink = scenario.cluster.nvlink
    nvlink_bps = math.inf if nvlink is None else scenario.scale.emulated_rate_bps(nvlink)

    def sent_bytes(role: str) -> float:
        return tokens[role] * by_role[role].cnic_bytes

    def wait_s(role: str) -> float:
        token = by_role[role]
        return (
            tokens[role] * 8 * (token.cnic_bytes / shape.cnic_bps + token.port_bytes / nvlink_bps)
        )

    return TurnExchange(
        sent_bytes("prefill"), sent_bytes("decode"), wait_s("prefill"), wait_s("decode")
    )


class _OfToken(NamedTuple):
    """What one token sends in all layers, there and back, in bytes.

    Args:
        cnic_bytes: over CNICs.
        nvlink_bytes: over all NVLink ports together.
        port_bytes: over the port that is busy the longest, one after the other.
    """

    cnic_bytes: float
    nvlink_bytes: float
    port_bytes: float


def _of_token(
    scenario: DualPathScenario, execution: Execution, nodes: int, engines: int
) -> _OfToken:
    layers = _layers(scenario.resolved_model)
    if not execution.experts:
        ring = 2 * (engines - 1) * ALL_REDUCES_PER_LAYER * execution.nvlink
        nvlink = layers * execution.reduce_bytes * ring
        return _OfToken(0.0, nvlink, nvlink / engines)
    among = nodes if execution.ep_domain == "role" else 1
    to_node, to_gpu = spread(execution, among, engines)
    both_ways = layers * (execution.dispatch_bytes + execution.combine_bytes)
    port = both_ways * (engines - 1) * to_gpu * execution.nvlink
    return _OfToken(both_ways * (among - 1) * to_node, among * port, port)


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
