"""What the policies of a scenario need of this machine, on a compiled cluster."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

from agents.capacity import Background, MachineNeed, TurnWork, collective_cores, machine_need
from agents.caps import Shape, TurnBytes, shape_of
from agents.cluster import Compute
from agents.costing.costs import MachineCosts
from agents.prediction import PolicyPrediction, Prediction, TurnTimes
from agents.process import LAG_PERIOD_S
from agents.scheduler.liveness import TICKS, limit_s
from agents.settings import DualPathScenario
from agents.traces.load import TurnMeans
from agents.traffic.offered import Passes, volume_of
from testbed.fidelity.calibration import foreseen_s
from testbed.fidelity.sampler import SAMPLE_PERIOD_S
from testbed.plan.footprint import Footprint, footprint
from testbed.plan.model import Plan, counts


class Site(NamedTuple):
    """What of a compiled cluster matters to a forecast.

    Args:
        shape: of it, at emulated rates.
        storage_nodes: there are.
        processes: of agents, one for each DRAM domain.
        shapers: whose counters are read.
        footprint: of the plan in the kernel.
        calibration_s: that calibrating its links takes.
        storage_bps: of the storage nodes' SNICs together, each way; None where that is no less than
            of all that read by them.
    """

    shape: Shape
    storage_nodes: int
    processes: int
    shapers: int
    footprint: Footprint
    calibration_s: float
    storage_bps: float | None = None


def site_of(plan: Plan) -> Site:
    """The site that a plan makes.

    Raises:
        TopologyError: it is no DualPath cluster.
    """
    domains = [domain for domain in plan.domains.values() if domain.kind == "dram"]
    storage = sum(domain.role == "storage" for domain in domains)
    shapers = counts(plan)["shaper"]
    shape = shape_of(plan)
    return Site(
        shape,
        storage,
        len(domains),
        shapers,
        footprint(plan),
        foreseen_s(plan),
        _storage_bps(plan, shape),
    )


def _storage_bps(plan: Plan, shape: Shape) -> float | None:
    rates_bps = [m.rate_bps for m in plan.meters if m.role == "storage" and m.direction == "out"
                 and m.kind == "snic"]  # fmt: skip
    total_bps = float(sum(rates_bps))
    return total_bps if total_bps < (shape.prefill + shape.decode) * shape.snic_bps else None


def passes_of(times: TurnTimes, means: TurnMeans) -> Passes:
    """The shortest passes through the model: a request of mean length, and one token."""
    return Passes(times.prefill_s, times.decode_s / means.generate_tokens)


def policy_needs(
    scenario: DualPathScenario,
    site: Site,
    turn: TurnBytes,
    work: TurnWork,
    times: TurnTimes,
    means: TurnMeans,
    prediction: Prediction,
    compute: Compute,
    costs: MachineCosts,
    agents: int,
) -> dict[str, MachineNeed]:
    """What each policy needs of the machine, at the rate of turns that is predicted for it.

    Args:
        scenario: what is run.
        site: where; `turn`, `work`, `times`, `means`: of the mean turn, emulated.
        prediction: the rates.
        compute: of the engines.
        costs: of this machine.
        agents: that play; where tokens are really computed, each waits for its own.
    """
    shape = site.shape
    settings = scenario.network.plan_settings(scenario.arbitration)
    period_s = scenario.realised_scale.emulated_s(scenario.scheduler.fetch_period)
    pulled = scenario.scheduler.placement == "adaptive"
    fetches_per_s = (shape.prefill + shape.decode) / period_s if pulled else 0.0
    # Who does not fetch is asked whether he is there.
    rounds_per_s = TICKS / limit_s(scenario.silent_after_s, faults=bool(scenario.faults))
    asked = site.storage_nodes + (0 if pulled else shape.prefill + shape.decode)
    background = Background(
        messages_per_s=fetches_per_s + 2 * asked * rounds_per_s,
        timers_per_s=site.processes / LAG_PERIOD_S + fetches_per_s + rounds_per_s,
        steps_per_s=1 / compute.tpot_s if compute.tpot_s > 0 else 0.0,
        shapers_per_s=site.shapers / SAMPLE_PERIOD_S,
    )

    def packet_bytes(rate_bps: float) -> float:
        return settings.gso_bytes(round(rate_bps))

    turn_s = prediction.service_s + work.computed_tokens * costs.token_s
    most_per_s = agents / turn_s if work.computed_tokens else math.inf

    def need(name: str, policy: PolicyPrediction) -> MachineNeed:
        if not math.isfinite(policy.turns_per_s):
            return MachineNeed(*[math.inf] * 5)
        found = machine_need(
            shape,
            turn,
            work,
            background,
            min(policy.turns_per_s, most_per_s),
            policy.share,
            times.decode_s,
            costs,
            packet_bytes,
            moves_kv=scenario.variants[name].moves_kv,
        )
        if not scenario.traffic.collectives:
            return found
        tokens_per_s = {
            "prefill": policy.turns_per_s * means.miss_tokens,
            "decode": policy.turns_per_s * means.generate_tokens,
        }
        volume = volume_of(scenario, shape, passes_of(times, means), tokens_per_s)
        nvlink = scenario.cluster.nvlink or scenario.cluster.cnic
        more = collective_cores(
            costs,
            packet_bytes,
            cnic_bytes_per_s=volume.cnic_bytes,
            cnic_bps=shape.cnic_bps,
            nvlink_bytes_per_s=volume.nvlink_bytes,
            nvlink_bps=scenario.scale.emulated_rate_bps(nvlink),
            messages_per_s=volume.messages,
        )
        return replace(
            found,
            cores=found.cores + more.machine,
            agents_cores=found.agents_cores + more.programs,
            process_cores=found.process_cores + more.programs / (shape.prefill + shape.decode),
        )

    return {name: need(name, policy) for name, policy in prediction.policies.items()}
