"""What a run should show, before it is run: caps, the rates of each policy, agents needed.

All of it in emulated units, like the cluster that it is about.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agents.caps import Shape, TurnBytes, best_network_cap, network_cap, policy_network_cap
from agents.resources import (
    ARRIVALS,
    DECODE_HBM,
    LOAD,
    PREFILL_COMPUTE,
    STORAGE_SNICS,
    of_nics,
)

# A closed loop hides differences between policies unless it always has work waiting.
AGENTS_MARGIN = 3.0


@dataclass(frozen=True)
class TurnTimes:
    """What a mean turn costs in time besides moving bytes, in emulated seconds.

    Args:
        prefill_s: of one prefill engine, in batches as they are expected; 0 when engines are
            network-only.
        decode_s: all its tokens; 0 when engines are network-only.
        think_s: pause before the agent's next turn.
        alone_s: as `prefill_s`, of a turn that is a batch by itself; None if that is the same.
        exchange_s: in which a prefill engine waits for collectives of the turn, on idle links;
            it computes nothing meanwhile.
        decode_exchange_s: as `exchange_s`, of a decode engine with this turn alone; the requests
            of a step share one exchange, which is so many times longer.
    """

    prefill_s: float = 0.0
    decode_s: float = 0.0
    think_s: float = 0.0
    alone_s: float | None = None
    exchange_s: float = 0.0
    decode_exchange_s: float = 0.0


@dataclass(frozen=True)
class Switched:
    """What runs under a name that is not a read-path policy's own.

    Args:
        policy: its read-path policy.
        prefill_s: of the mean turn, see `TurnTimes`.
        moves_kv: else it is bound by compute alone.
    """

    policy: str
    prefill_s: float
    moves_kv: bool = True


@dataclass(frozen=True)
class PolicyPrediction:
    """What a policy should reach when there are always requests waiting.

    Args:
        kv_load_bps: KV read from storage; 0 if KV is not moved.
        bound_by: a NIC or PCIe class, "storage-snics", "prefill-compute", "decode-hbm", "arrivals",
            or "load": so few agents cannot keep anything busy.
        binds: the same in the words of `agents.resources`, as it is measured.
        share: of reads on the prefill side.
        speedup: of `turns_per_s` over the first policy's, and so of the load; None where nothing
            is stored that could be read.
    """

    turns_per_s: float
    kv_load_bps: float
    bound_by: str
    binds: str
    share: float
    speedup: float | None


@dataclass(frozen=True)
class Prediction:
    """The caps in turns/s, and what follows.

    Args:
        caps_turns_per_s: "pe-snics" (reads on the prefill side alone), "all-snics", "cnics" and
            "pcie" (at the best share), "storage-snics" (of storage nodes, where they are slower
            than those that read by them), "prefill-compute" (with its collectives), "decode-hbm";
            infinite where nothing limits.
        policies: by name, the first is the baseline.
        service_s: a turn alone in the cluster.
        agents: needed so that every policy has requests waiting.
    """

    caps_turns_per_s: Mapping[str, float]
    policies: Mapping[str, PolicyPrediction]
    service_s: float
    agents: int


def predict(
    shape: Shape,
    turn: TurnBytes,
    times: TurnTimes,
    policies: Sequence[str],
    *,
    hbm_bytes: float | None = None,
    arrivals_per_s: float | None = None,
    agents: int | None = None,
    switched: Mapping[str, Switched] | None = None,
    storage_bps: float | None = None,
) -> Prediction:
    """Predict a run.

    Args:
        shape: of the cluster.
        turn: KV of the mean turn.
        times: compute and think time of the mean turn.
        policies: read-path policies; the first is the baseline.
        hbm_bytes: for KV on each decode engine; None for unlimited.
        arrivals_per_s: turns that the clock releases; None for a closed loop.
        agents: of a closed loop; None for as many as are needed.
        switched: what is different for some names in `policies`.
        storage_bps: of all storage nodes' SNICs, each way; None where they are never full.

    Raises:
        ValueError: there is no policy.
    """
    if not policies:
        raise ValueError("nothing to compare: no policy")
    caps = {
        "pe-snics": network_cap(shape, turn, 1.0, nics="pe-snic-in").turns_per_s,
        "all-snics": best_network_cap(shape, turn, nics="snic-in").turns_per_s,
        "cnics": best_network_cap(shape, turn, nics="cnic").turns_per_s,
        "pcie": math.inf,
        STORAGE_SNICS: _storage_cap(turn, storage_bps),
        PREFILL_COMPUTE: _prefill_cap(shape, times.prefill_s + times.exchange_s),
        DECODE_HBM: _decode_cap(shape, turn, times, hbm_bytes),
    }
    if not shape.loopback:
        caps["pcie"] = best_network_cap(shape, turn, nics="pcie").turns_per_s
    predictions: dict[str, PolicyPrediction] = {}
    baseline: float | None = None
    fastest = 0.0
    for policy in policies:
        mine = (switched or {}).get(policy, Switched(policy, times.prefill_s))
        network = policy_network_cap(shape, turn, mine.policy)
        limits = {
            network.bound_by: network.turns_per_s if mine.moves_kv else math.inf,
            STORAGE_SNICS: caps[STORAGE_SNICS] if mine.moves_kv else math.inf,
            PREFILL_COMPUTE: _prefill_cap(shape, mine.prefill_s + times.exchange_s),
            DECODE_HBM: caps[DECODE_HBM],
            ARRIVALS: math.inf if arrivals_per_s is None else arrivals_per_s,
        }
        fastest = max(fastest, min(limits.values()))
        if agents is not None:
            served_s = least_s(shape, turn, times, moves_kv=mine.moves_kv)
            limits[LOAD] = _load_cap(agents, served_s + times.think_s)
        bound_by = min(limits, key=limits.__getitem__)
        turns_per_s = limits[bound_by]
        kv_load_bps = 8 * turn.hit * turns_per_s if mine.moves_kv else 0.0
        if baseline is None:
            baseline = turns_per_s
        speedup = turns_per_s / baseline if turn.hit > 0 else None
        binds = of_nics(network.full, bound_by) if bound_by == network.bound_by else bound_by
        predictions[policy] = PolicyPrediction(
            turns_per_s, kv_load_bps, bound_by, binds, network.share, speedup
        )
    service_s = unloaded_s(shape, turn, times)
    return Prediction(caps, predictions, service_s, agents_needed(fastest, service_s, times))


def unloaded_s(shape: Shape, turn: TurnBytes, times: TurnTimes) -> float:
    """Time of a mean turn alone in the cluster, read on the prefill side, think time apart.

    Read; then load into HBM and return, which share the prefill CNIC's read side; compute; copy
    to the decode engine; decode.  Layers overlap some of it, so this is not too short.  Where there
    are PCIe links, what is loaded and copied goes by them.
    """
    read_s = 8 * turn.hit / shape.snic_bps
    inner_bps = shape.cnic_bps if shape.pcie_bps is None else shape.pcie_bps
    layers_s = 8 * (turn.hit / inner_bps + turn.prompt / shape.cnic_bps)
    copy_s = 8 * turn.prompt / inner_bps
    prefill_s = times.prefill_s if times.alone_s is None else times.alone_s
    decode_s = times.decode_s + times.decode_exchange_s
    return read_s + layers_s + prefill_s + times.exchange_s + copy_s + decode_s


def least_s(shape: Shape, turn: TurnBytes, times: TurnTimes, *, moves_kv: bool = True) -> float:
    """As `unloaded_s`, on the shortest path and with all the overlap that there can be.

    Args:
        moves_kv: else a turn is nothing but compute.
    """
    prefill_s = times.prefill_s if times.alone_s is None else times.alone_s
    prefill_s += times.exchange_s
    decode_s = times.decode_s + times.decode_exchange_s
    if not moves_kv:
        return prefill_s + decode_s
    inner_bps = shape.cnic_bps if shape.pcie_bps is None else shape.pcie_bps
    read_s, load_s = 8 * turn.hit / shape.snic_bps, 8 * turn.hit / max(inner_bps, shape.cnic_bps)
    return read_s + max(load_s, prefill_s) + 8 * turn.prompt / inner_bps + decode_s


def agents_needed(turns_per_s: float, service_s: float, times: TurnTimes) -> int:
    """Agents that keep requests waiting at this rate: Little's law, with a margin.

    The margin applies to the time that a request is served; an agent that thinks has nothing
    waiting, but needs none in reserve either.
    """
    if not math.isfinite(turns_per_s):
        return 1
    return max(1, math.ceil(turns_per_s * (AGENTS_MARGIN * service_s + times.think_s)))


def expected_batch(
    quota_s: float, attention_s: float, hbm_bytes: float, held_bytes: float
) -> float:
    """Requests of a prefill iteration when there are always some waiting: quota or HBM.

    Args:
        quota_s: attention time that an iteration may take.
        attention_s: of the mean turn, in the same time.
        hbm_bytes: of one engine, for KV.
        held_bytes: of it, what the mean turn holds during an iteration.

    Returns:
        1 or more; a fraction, for the request that overflows the quota is cut.
    """
    by_quota = quota_s / attention_s if attention_s > 0 else math.inf
    return max(1.0, min(by_quota, hbm_bytes // held_bytes))


def _storage_cap(turn: TurnBytes, storage_bps: float | None) -> float:
    """Hits leave storage, what was computed comes to it; blocks are spread over all its nodes."""
    busiest = max(turn.hit, turn.miss + turn.generated)
    return math.inf if storage_bps is None or not busiest else storage_bps / 8 / busiest


def _prefill_cap(shape: Shape, prefill_s: float) -> float:
    engines = shape.prefill * shape.engines
    return engines / prefill_s if prefill_s > 0 else math.inf


def _load_cap(agents: int, turn_s: float) -> float:
    """Each agent has one turn at a time (Little's law)."""
    return agents / turn_s if turn_s > 0 else math.inf


def _decode_cap(shape: Shape, turn: TurnBytes, times: TurnTimes, hbm_bytes: float | None) -> float:
    """A request holds HBM for its prompt and generation while it is copied in and decoded.

    A step's collective has a token of every request in HBM.
    """
    if hbm_bytes is None or times.decode_s <= 0:
        return math.inf
    # HBM that does not hold one is refused where capacities are chosen, in words for people.
    at_once = max(1, math.floor(hbm_bytes / (turn.prompt + turn.generated)))
    inner_bps = shape.cnic_bps if shape.pcie_bps is None else shape.pcie_bps
    held_s = times.decode_s + at_once * times.decode_exchange_s + 8 * turn.prompt / inner_bps
    return shape.decode * shape.engines * at_once / held_s
