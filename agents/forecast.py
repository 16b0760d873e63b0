"""A scenario on a compiled cluster: everything that is decided before the first packet.

Puts together the trace, the model, the formulae and the machine; the run, the report and
the dry run take their figures from here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import fmean

from agents import room
from agents.capacity import MachineNeed, TurnWork
from agents.caps import Shape, TurnBytes
from agents.cluster import Arrivals, Buffers, Compute, Steady
from agents.costing.costs import REFERENCE, MachineCosts
from agents.engine_times import engine_times
from agents.needs import Site, passes_of, policy_needs, site_of
from agents.prediction import Prediction, TurnTimes, predict
from agents.replayed import Replayed
from agents.scheduler.policies import policy_caches
from agents.settings import DualPathScenario
from agents.traces.load import ClosedTrace, OpenTrace, TurnMeans, load_trace
from agents.traffic.offered import Passes, turn_exchange
from testbed.experiment.scale import Scale
from testbed.plan.model import Plan


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
    compute, times, switched, batch = engine_times(scenario, means, hbm_layers)
    tokens = {"prefill": means.miss_tokens, "decode": means.generate_tokens}
    exchange = turn_exchange(scenario, shape, passes_of(times, means), tokens)
    times = replace(times, exchange_s=exchange.prefill_s, decode_exchange_s=exchange.decode_s)
    turn = replace(turn, prefill_model=exchange.prefill_bytes, decode_model=exchange.decode_bytes)
    prediction = predict(
        shape,
        turn,
        times,
        list(scenario.variants),
        hbm_bytes=room.hbm_bytes(scenario),
        arrivals_per_s=offered_per_s,
        agents=_closed_loop_of(scenario, offered_per_s),
        switched=switched,
        storage_bps=site.storage_bps,
    )
    arrivals = _arrivals(scenario, scale, prediction)
    agents = _agents(scenario, prediction, means, arrivals)
    steady = _steady(scenario, prediction, means, times, agents)
    longest_bytes = math.ceil(means.longest_tokens * token_bytes)
    buffers = room.buffers(
        scenario,
        shape,
        turn,
        agents=agents,
        longest_bytes=longest_bytes,
        hbm_layers=hbm_layers,
        batch=batch,
    )
    preload_blocks = replayed.prefix_blocks(scenario, trace, agents, arrivals, steady)
    preload_bytes = preload_blocks * layout.full_block_bytes
    fastest = max(prediction.policies.values(), key=lambda policy: policy.turns_per_s)
    written_bytes = fastest.turns_per_s * scenario.duration * (turn.miss + turn.generated)
    storage_bytes = room.storage_bytes(
        scenario,
        # Twice what should be written: nothing is evicted unless it is asked for.
        math.ceil(preload_bytes + 2 * written_bytes + agents * turn.prompt + longest_bytes),
        longest_bytes,
    )
    most_bytes = site.storage_nodes * storage_bytes
    stored_bytes = min(preload_bytes + written_bytes, most_bytes)
    cache_bytes = room.cache_bytes(scenario, most_bytes)
    cached_bytes = 0.0
    if any(policy_caches(one.policy) for one in scenario.variants.values()):
        cached_bytes = shape.decode * min(cache_bytes, stored_bytes)
    work = TurnWork(
        layer_groups=math.ceil(layout.layers / layers),
        stored_blocks=means.generate_tokens / layout.block_tokens,
        computed_tokens=means.generate_tokens if scenario.kv == "transformer" else 0.0,
        storage_nodes=site.storage_nodes,
        iterations=1 / batch if scenario.engines == "modelled" else 0.0,
    )
    kv_bytes = room.arena_bytes(shape, buffers.staging, turn, agents) + stored_bytes + cached_bytes
    system_bytes = costs.load_bytes + site.processes * costs.program_bytes
    system_bytes += site.footprint.memory_bytes
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
        memory_bytes=kv_bytes + system_bytes,
    )


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
