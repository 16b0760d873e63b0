"""A scenario on a compiled cluster: everything that is decided before the first packet.

Puts together the trace, the model, the formulae and the machine; the run, the report and
the dry run take their figures from here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import fmean
from typing import NamedTuple

import msgspec

from agents.capacity import MachineNeed, TurnWork
from agents.caps import Shape, TurnBytes
from agents.client.replay import Replay
from agents.cluster import Arrivals, Buffers, Compute, Steady
from agents.compute import (
    batch_gain,
    batch_size,
    emulated_compute,
    prefill_attention_flops,
    prefill_flops,
)
from agents.costing.costs import REFERENCE, MachineCosts
from agents.needs import Site, passes_of, policy_needs, site_of
from agents.prediction import Prediction, Switched, TurnTimes, expected_batch, predict
from agents.replayed import Replayed, replay
from agents.scheduler.policies import policy_caches
from agents.settings import DualPathScenario
from agents.traces.load import ClosedTrace, OpenTrace, TurnMeans, load_trace
from agents.traffic.offered import Passes, turn_exchange
from testbed.errors import ScenarioError
from testbed.experiment.scale import Scale
from testbed.plan.model import Plan
from testbed.units import show_size

_SPARE = 1.5  # of buffers over what the mean load fills: requests differ in length


@dataclass(frozen=True)
class Forecast:
    """What a run is going to be, in emulated units.

    Args:
        shape: of the cluster.
        scale: realised: bytes come whole.
        trace: what is replayed.
        means: of the trace's turns.
        turn, times: the mean turn, in bytes and in seconds.
        prediction: caps and rates.
        agents: of a closed loop, or in flight when arrivals begin; for requests that the clock
            releases, what is under way at once.
        arrivals: of sessions; None where there are none.
        steady: how agents enter a closed loop that is to be as after a long time, else None.
        compute: for the engines; all zero when they are network-only.
        layers_per_transfer, hbm_layers: of prefill.
        buffers: capacities, emulated bytes.
        preload_bytes: KV that storage holds before the run.
        storage_bytes: capacity of each storage node.
        cache_bytes: of each decode node, for policies that use it.
        work: of the mean turn, for programs.
        site: what of the plan matters.
        needs: policy -> what it needs of this machine.
        memory_bytes: that a run needs of this machine.
    """

    shape: Shape
    scale: Scale
    trace: ClosedTrace | OpenTrace
    means: TurnMeans
    turn: TurnBytes
    times: TurnTimes
    prediction: Prediction
    agents: int
    arrivals: Arrivals | None
    steady: Steady | None
    compute: Compute
    layers_per_transfer: int
    hbm_layers: int
    buffers: Buffers
    preload_bytes: int
    storage_bytes: int
    cache_bytes: int
    work: TurnWork
    site: Site
    needs: Mapping[str, MachineNeed]
    memory_bytes: float

    @property
    def cores(self) -> float:
        """That the policy which needs most keeps busy."""
        return max(need.cores for need in self.needs.values())

    @property
    def process_cores(self) -> float:
        """By the busiest process of any policy."""
        return max(need.process_cores for need in self.needs.values())

    @property
    def passes(self) -> Passes:
        """The shortest passes through the model: a request of mean length, and one token."""
        return passes_of(self.times, self.means)


def forecast(
    scenario: DualPathScenario,
    site: Plan | Site,
    costs: MachineCosts = REFERENCE,
    replayed: Replayed | None = None,
) -> Forecast:
    """Foresee a run.

    Args:
        scenario: what to run.
        site: the compiled cluster, at its emulated rates.
        costs: of this machine.
        replayed: its load, where several scales of one scenario are foreseen.

    Raises:
        TopologyError: the cluster is not a DualPath one.
        ScenarioError: the trace cannot be read, engine speeds are unknown, or a buffer is
            smaller than the longest request.
    """
    if isinstance(site, Plan):
        site = site_of(site)
    shape, scale, layout = site.shape, scenario.realised_scale, scenario.layout
    trace = load_trace(scenario.trace_spec)
    replayed = replayed or Replayed()
    means, offered_per_s = replayed.offered(scenario, trace)
    token_bytes = layout.full_block_bytes / layout.block_tokens
    turn = TurnBytes(
        means.hit_tokens * token_bytes,
        means.miss_tokens * token_bytes,
        means.generate_tokens * token_bytes,
    )
    layers = scenario.layers_per_transfer(means.prompt_tokens)
    hbm_layers = scenario.hbm_layers(layers)
    compute, times, switched, batch = _compute(scenario, scale, means, hbm_layers)
    tokens = {"prefill": means.miss_tokens, "decode": means.generate_tokens}
    exchange = turn_exchange(scenario, shape, passes_of(times, means), tokens)
    times = replace(times, exchange_s=exchange.prefill_s, decode_exchange_s=exchange.decode_s)
    turn = replace(turn, prefill_model=exchange.prefill_bytes, decode_model=exchange.decode_bytes)
    prediction = predict(
        shape,
        turn,
        times,
        list(scenario.variants),
        hbm_bytes=_hbm_bytes(scenario, scale),
        arrivals_per_s=offered_per_s,
        agents=_closed_loop_of(scenario, offered_per_s),
        switched=switched,
        storage_bps=site.storage_bps,
    )
    arrivals = _arrivals(scenario, scale, prediction)
    agents = _agents(scenario, prediction, means, arrivals)
    steady = _steady(scenario, prediction, means, times, agents)
    longest_bytes = math.ceil(means.longest_tokens * token_bytes)
    buffers = _buffers(scenario, scale, shape, turn, agents, longest_bytes, hbm_layers, batch)
    preload_blocks = replayed.prefix_blocks(scenario, trace, agents, arrivals, steady)
    preload_bytes = preload_blocks * layout.full_block_bytes
    fastest = max(prediction.policies.values(), key=lambda policy: policy.turns_per_s)
    written_bytes = fastest.turns_per_s * scenario.duration * (turn.miss + turn.generated)
    storage_bytes = _storage_bytes(
        scenario,
        # Twice what should be written: nothing is evicted unless it is asked for.
        math.ceil(preload_bytes + 2 * written_bytes + agents * turn.prompt + longest_bytes),
        longest_bytes,
    )
    nodes = site.storage_nodes
    stored_bytes = min(preload_bytes + written_bytes, nodes * storage_bytes)
    # No more than there is to keep.
    cache_bytes = min(int(scale.emulated_bytes(scenario.cache.capacity)), nodes * storage_bytes)
    cached_bytes = 0.0
    if any(policy_caches(one.policy) for one in scenario.variants.values()):
        cached_bytes = shape.decode * min(cache_bytes, stored_bytes)
    modelled = scenario.engines == "modelled"
    work = TurnWork(
        layer_groups=math.ceil(layout.layers / layers),
        stored_blocks=means.generate_tokens / layout.block_tokens,
        computed_tokens=means.generate_tokens if scenario.kv == "transformer" else 0.0,
        storage_nodes=nodes,
        iterations=1 / batch if modelled else 0.0,
    )
    memory_bytes = _arena_bytes(shape, buffers, turn, agents) + stored_bytes + cached_bytes
    memory_bytes += costs.load_bytes + site.processes * costs.program_bytes
    memory_bytes += site.footprint.memory_bytes
    return Forecast(
        shape=shape,
        scale=scale,
        trace=trace,
        means=means,
        turn=turn,
        times=times,
        prediction=prediction,
        agents=agents,
        arrivals=arrivals,
        steady=steady,
        compute=compute,
        layers_per_transfer=layers,
        hbm_layers=hbm_layers,
        buffers=buffers,
        preload_bytes=preload_bytes,
        storage_bytes=storage_bytes,
        cache_bytes=cache_bytes,
        work=work,
        site=site,
        needs=policy_needs(
            scenario, site, turn, work, times, means, prediction, compute, costs, agents
        ),
        memory_bytes=memory_bytes,
    )


def replay_of(scenario: DualPathScenario, found: Forecast) -> Replay:
    """A fresh replay; every policy gets one like it."""
    return replay(scenario, found.trace, found.agents, found.arrivals, found.steady)


def _arrivals(scenario: DualPathScenario, scale: Scale, prediction: Prediction) -> Arrivals | None:
    wanted = scenario.workload.arrivals
    if wanted is None:
        return None
    return Arrivals(scale.emulated_per_s(wanted.rate), prediction.service_s)


def _closed_loop_of(scenario: DualPathScenario, offered_per_s: float | None) -> int | None:
    """Agents of a closed loop, if a number of them is asked for."""
    wanted = scenario.workload.agents
    return None if wanted == "auto" or offered_per_s is not None else wanted


def _agents(
    scenario: DualPathScenario,
    prediction: Prediction,
    means: TurnMeans,
    arrivals: Arrivals | None,
) -> int:
    """Agents of a closed loop, or in flight: arrivals times the expected time of a session."""
    wanted = scenario.workload.agents
    if wanted != "auto":
        return wanted
    if arrivals is None:
        return prediction.agents
    session_s = means.session_turns * (prediction.service_s + means.think_s)
    return max(1, round(arrivals.per_s * session_s))


def _steady(
    scenario: DualPathScenario,
    prediction: Prediction,
    means: TurnMeans,
    times: TurnTimes,
    agents: int,
) -> Steady | None:
    """Expected times of turns where agents enter as after a long time: Little's law."""
    if scenario.workload.enter == "trajectory":
        return None
    # Policies differ, and all have the same sessions: as if they took turns.
    waits_s = [agents / policy.turns_per_s for policy in prediction.policies.values()]
    turn_s = max(prediction.service_s, fmean(waits_s) - means.think_s)
    decode_s = min(times.decode_s, turn_s)
    return Steady(turn_s - decode_s, decode_s / means.generate_tokens)


class _Computing(NamedTuple):
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


def _compute(
    scenario: DualPathScenario, scale: Scale, means: TurnMeans, hbm_layers: int
) -> _Computing:
    variants, prefill = scenario.variants, scenario.prefill
    if scenario.engines == "network-only":
        times = TurnTimes(think_s=means.think_s)
        switched = {name: Switched(one.policy, 0.0, one.moves_kv) for name, one in variants.items()}
        nothing = Compute(0.0, 0.0, [(0.0, 0.0)], 0.0)
        return _Computing(nothing, times, switched, prefill.concurrent_requests)
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
    return _Computing(compute, times, switched, max(batches.values()))


def _hbm_bytes(scenario: DualPathScenario, scale: Scale) -> float | None:
    if scenario.engines == "network-only":
        return None
    return scale.emulated_bytes(scenario.buffers.hbm)


def _buffers(
    scenario: DualPathScenario,
    scale: Scale,
    shape: Shape,
    turn: TurnBytes,
    agents: int,
    longest_bytes: int,
    hbm_layers: int,
    batch: float,
) -> Buffers:
    """Capacities as given, else such that no buffer is what limits the mean load.

    Each holds two of the longest requests at least, so that one cannot block the others.
    """
    floor = 2 * longest_bytes
    per_prefill, per_decode = agents / shape.prefill, agents / shape.decode
    working = scenario.read_window + shape.engines * batch
    groups = working * (turn.prompt + longest_bytes) * hbm_layers / scenario.layout.layers
    kept = per_decode * (turn.miss + turn.generated)
    wanted = {
        "pe_buffer": floor + _SPARE * per_prefill * turn.hit,
        "de_buffer": floor + _SPARE * per_decode * turn.prompt,
        "staging": floor + _SPARE * (groups + kept),
    }
    given = {
        "pe_buffer": scenario.buffers.pe,
        "de_buffer": scenario.buffers.de,
        "staging": scenario.buffers.staging,
    }
    sizes = {
        name: math.ceil(size if given[name] is None else scale.emulated_bytes(given[name] or 0))
        for name, size in wanted.items()
    }
    limit = _hbm_bytes(scenario, scale)
    everything = floor + _SPARE * per_decode * (turn.prompt + turn.generated)
    sizes["hbm"] = math.ceil(everything if limit is None else limit)
    given_hbm = scenario.buffers.prefill_hbm if limit is not None else None
    sizes["prefill_hbm"] = (
        sizes["hbm"] if given_hbm is None else math.ceil(scale.emulated_bytes(given_hbm))
    )
    few_layers = all(one.layerwise for one in scenario.variants.values())
    for name, size in sizes.items():
        if name == "prefill_hbm" and few_layers:
            continue  # it holds a few layers of the longest request only
        if size < longest_bytes:
            raise ScenarioError(
                f"buffers.{name.removesuffix('_buffer')} of {_real(scale, size)} does not hold "
                f"the longest request, which has {_real(scale, longest_bytes)} of KV",
                hint="give it more, leave it out, or lower workload.max_context",
            )
    return Buffers(**sizes)


def _storage_bytes(scenario: DualPathScenario, enough_bytes: int, longest_bytes: int) -> int:
    """Capacity of a storage node: as given, else enough for everything."""
    given_bytes = scenario.storage.capacity
    if given_bytes is None:
        return enough_bytes
    if given_bytes < longest_bytes:
        raise ScenarioError(
            f"storage.capacity of {show_size(given_bytes)} does not hold the longest context, "
            f"which has {show_size(longest_bytes)} of emulated KV",
            hint="give it more, leave it out, or lower workload.max_context",
        )
    return given_bytes


def _real(scale: Scale, emulated_bytes: float) -> str:
    return show_size(scale.real_bytes(emulated_bytes))


def _arena_bytes(shape: Shape, buffers: Buffers, turn: TurnBytes, agents: int) -> float:
    """Memory that arenas really touch: a request is in one DRAM buffer and one HBM at most."""
    nodes = shape.prefill + shape.decode
    return nodes * buffers.staging + agents * (2 * turn.prompt + turn.hit + turn.generated)
