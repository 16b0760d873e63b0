"""How long engines compute in a run: what they are told, and what its mean turn takes."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from agents.cluster import Compute
from agents.compute import (
    batch_gain,
    batch_size,
    emulated_compute,
    prefill_attention_flops,
    prefill_flops,
)
from agents.prediction import Switched, TurnTimes, expected_batch
from agents.settings import DualPathScenario
from agents.traces.load import TurnMeans
from testbed.errors import ScenarioError


class EngineTimes(NamedTuple):
    """How long engines compute.

    Args:
        compute: for the engines.
        times: of the mean turn.
        switched: variants that are more than a read-path policy.
        batch: requests that a prefill engine works on at a time.
    """

    compute: Compute
    times: TurnTimes
    switched: dict[str, Switched]
    batch: float


def engine_times(scenario: DualPathScenario, means: TurnMeans, hbm_layers: int) -> EngineTimes:
    """How long the engines of a scenario compute.

    Args:
        scenario: what is run.
        means: of the turns.
        hbm_layers: that prefill holds of a request.

    Raises:
        ScenarioError: engine speeds are unknown, or contradict each other.
    """
    variants, prefill, scale = scenario.variants, scenario.prefill, scenario.realised_scale
    if scenario.engines == "network-only":
        times = TurnTimes(think_s=means.think_s)
        switched = {name: Switched(one.policy, 0.0, one.moves_kv) for name, one in variants.items()}
        nothing = Compute(0.0, 0.0, [(0.0, 0.0)], 0.0)
        return EngineTimes(nothing, times, switched, prefill.concurrent_requests)
    model, given = scenario.resolved_model, scenario.compute
    flops_per_s, tpot_s = scenario.engine_speeds
    attention_flops_per_s = prefill.attention_tflops * 1e12 * scenario.hardware.flops
    if attention_flops_per_s < flops_per_s:
        raise ScenarioError(
            f"prefill.attention_tflops of {prefill.attention_tflops:g} is less than the effective "
            f"{flops_per_s / 1e12:g} TFLOP/s of a whole prefill",
            hint="state the theoretical rate of the engine: prefill.attention_tflops",
        )
    compute = emulated_compute(
        model,
        scale.stretch,
        prefill_flops_per_s=given.prefill_flops_per_s,
        tpot_s=given.tpot,
        curve=given.curve,
        flops_trend=scenario.hardware.flops,
    )
    compute = msgspec.structs.replace(
        compute, attention_seconds_per_flop=scale.stretch / attention_flops_per_s
    )
    flops = prefill_flops(model, means.hit_tokens, means.miss_tokens)
    attention = prefill_attention_flops(model, means.hit_tokens, means.miss_tokens)
    prompt_bytes = means.prompt_tokens * model.kv_bytes_per_token
    prefill_hbm_bytes = scenario.buffers.prefill_hbm or scenario.buffers.hbm

    def batch(layerwise: bool) -> float:
        held_bytes = prompt_bytes * (hbm_layers / model.layers if layerwise else 1)
        return expected_batch(
            prefill.quota, attention / attention_flops_per_s, prefill_hbm_bytes, held_bytes
        )

    def prefill_s(requests: float) -> float:
        size = requests * batch_size([means.miss_tokens])
        gain = batch_gain(compute.batch_gain, size)
        return scale.emulated_s(flops / flops_per_s / gain)

    batches = {name: batch(one.layerwise) for name, one in variants.items()}
    switched = {
        name: Switched(one.policy, prefill_s(batches[name]), one.moves_kv)
        for name, one in variants.items()
    }
    times = TurnTimes(
        prefill_s=prefill_s(batch(prefill.layerwise)),
        decode_s=scale.emulated_s(means.generate_tokens * tpot_s),
        think_s=means.think_s,
        alone_s=prefill_s(1),
    )
    return EngineTimes(compute, times, switched, max(batches.values()))
