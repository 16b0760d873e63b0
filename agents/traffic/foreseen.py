"""Collectives in the forecast of a run: how they are fused, and what they ask of the machine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from agents.capacity import CpuCosts, collective_cores
from agents.forecast import Forecast
from agents.settings import DualPathScenario
from agents.traffic.offered import Passes, fusing_of, volume_of


def passes_of(found: Forecast) -> Passes:
    """The shortest passes through the model: a request of mean length, and one token."""
    return Passes(found.times.prefill_s, found.times.decode_s / found.means.generate_tokens)


def fusing_figures(scenario: DualPathScenario, found: Forecast) -> dict[str, Any]:
    """How many layers share a collective, and the messages that they are, by role."""
    if not scenario.traffic.collectives:
        return {}
    fused = fusing_of(scenario, found.shape, passes_of(found))
    return {role: one._asdict() for role, one in fused.items()}


def with_collectives(
    scenario: DualPathScenario, found: Forecast, costs: CpuCosts | None = None
) -> Forecast:
    """A forecast whose need of cores holds the collectives as well.

    Args:
        scenario: the same.
        found: without them.
        costs: of this machine; default those that were measured.

    Raises:
        ScenarioError: collectives are asked for, and what they send is not known.
    """
    if not scenario.traffic.collectives:
        return found
    fastest = max(policy.turns_per_s for policy in found.prediction.policies.values())
    tokens_per_s = {
        "prefill": fastest * found.means.miss_tokens,
        "decode": fastest * found.means.generate_tokens,
    }
    volume = volume_of(scenario, found.shape, passes_of(found), tokens_per_s)
    nvlink = scenario.cluster.nvlink or scenario.cluster.cnic
    cores = collective_cores(
        costs or CpuCosts(),
        cnic_bytes_per_s=volume.cnic_bytes,
        cnic_bps=found.shape.cnic_bps,
        nvlink_bytes_per_s=volume.nvlink_bytes,
        nvlink_bps=scenario.scale.emulated_rate_bps(nvlink),
        messages_per_s=volume.messages,
    )
    return replace(found, need=replace(found.need, cores=found.need.cores + cores))
