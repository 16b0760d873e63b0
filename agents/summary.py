"""What a run came to: the documented figures of `testbed run --json`, from records and counters.

Every figure is of the steady window, and of bytes that *arrived* in it: counting completed requests
instead gives rates above the line's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from agents.assumptions import assumptions
from agents.binding import binds, bound_by, read_queues_empty_s
from agents.bounds import best_split
from agents.cache_figures import cache_figures
from agents.caps import TurnBytes, shape_of
from agents.engine_figures import engine_figures_of
from agents.network_figures import fairness, intervals, nic_use, round_trips, slowdowns
from agents.nics import Load, Shares, load_table
from agents.prediction_error import prediction_error
from agents.recorded import Run
from agents.records import (
    CacheRecord,
    CollectiveRecord,
    EventRecord,
    PredictionRecord,
    ProcessRecord,
    RequestRecord,
    RoundTripRecord,
    SessionRecord,
    StorageRecord,
    TransferRecord,
)
from agents.settings import DualPathScenario
from agents.traffic.summary import collective_figures
from testbed.experiment.workload import Outcome

_IMBALANCE_STEP_S = 1.0  # of real time: Max/Avg is over small windows
# What there is of a policy only if its window opened.
_OF_THE_WINDOW = (
    "kv_load_bps",
    "interval_kv_load_bps",
    "interval_turns_per_s",
    "batch_correlation",
    "kv_load_bps_full_scale",
    "turns_per_s",
    "turns_per_s_full_scale",
    "path_share",
    "bound_by",
    "binds",
    "best_split_bps",
    "gap",
    "steady",
    "thirds_bps",
    "ttft_s",
    "ttst_s",
    "tpot_s",
    "jct_s",
    "stall_s",
    "gpu_time",
    "gpu_wait_share",
    "prefill_batch",
    "attention_max_avg",
    "decode_batch",
    "itl_s",
    "prediction_error",
    "snic_max_avg",
    "aps_offered",
    "sessions_arrived",
    "sessions_completed",
    "hit_rate",
    "miss_share",
    "generated_share",
    "nic_loads",
    "nic_use",
    "round_trip_s",
    "slowdown",
    "jain_agents",
    "read_queue_empty_s",
    "collectives",
)


def distribution(values: Sequence[float]) -> dict[str, float | None]:
    """p50, p99 and mean; nulls where there is nothing."""
    if not values:
        return {"p50": None, "p99": None, "mean": None}
    array = np.array(values)
    return {
        "p50": float(np.percentile(array, 50)),
        "p99": float(np.percentile(array, 99)),
        "mean": float(array.mean()),
    }


def shares(run: Run) -> Shares | None:
    """a, m, w and the write-back share, measured in the window from what arrived."""
    if run.window is None or not run.reads:
        return None
    transfers = run.of(TransferRecord)
    loaded = run.bytes_in_window(run.reads)
    total = math.fsum(loaded)  # exact, whatever the order: all of it is a share of exactly 1
    if total <= 0:
        return None
    roles = {name: domain.role for name, domain in run.plan.domains.items()}
    prefill = math.fsum(
        size for t, size in zip(run.reads, loaded, strict=True) if roles[t.target] == "prefill"
    )
    by_request = {r.request: r for r in run.of(RequestRecord)}
    # A request's miss bytes follow from its tokens; they travel when its KV returns.
    done = run.in_window(list(by_request.values()), "t_first_token")
    hit = sum(r.hit_tokens for r in done)
    miss = sum(r.prompt_tokens - r.hit_tokens for r in done)
    generated = float(run.bytes_in_window([t for t in transfers if t.kind == "d2h"]).sum())
    written = float(run.bytes_in_window([t for t in transfers if t.kind == "storage_write"]).sum())
    return Shares(prefill / total, miss / hit if hit else 0.0, generated / total, written / total)


def nic_loads(run: Run) -> list[Load]:
    """Measured NIC loads beside the formulae; empty without a window or reads.

    The formulae are of KV that is read from storage: with any from caches they say nothing.
    """
    measured = shares(run)
    if run.window is None or measured is None or run.from_caches:
        return []
    opened, closed = run.window
    read_bps = float(run.bytes_in_window(run.reads).sum()) * 8 / (closed - opened)
    roles = {d.node: d.role for d in run.plan.domains.values()}
    payload_bps = run.nics.payload_bps(opened, closed)
    loopback = run.scenario.traffic.mode != "direct"
    return load_table(payload_bps, roles, read_bps, measured, loopback=loopback)


def storage_figures(nodes: Sequence[StorageRecord]) -> dict[str, int]:
    """What all storage nodes held, evicted and refused, in the whole run."""
    return {
        "capacity_bytes": sum(node.capacity_bytes for node in nodes),
        "stored_bytes": sum(node.stored_bytes for node in nodes),
        "working_set_bytes": sum(node.touched_bytes for node in nodes),
        "evicted_bytes": sum(node.evicted_bytes for node in nodes),
        "refused_puts": sum(node.refused_puts for node in nodes),
        "refused_bytes": sum(node.refused_bytes for node in nodes),
    }


def cached_and_stored_bytes(run: Run) -> tuple[float, float, float]:
    """Hit KV in the window from the own node's cache, from another's, and from storage."""
    if run.window is None:
        return 0.0, 0.0, 0.0
    own, other = (
        [t for t in run.from_caches if t.kind == kind] for kind in ("peer_copy", "peer_read")
    )
    inside = [float(run.bytes_in_window(each).sum()) for each in (own, other, run.reads)]
    return inside[0], inside[1], inside[2]


def summarise(run: Run) -> dict[str, Any]:
    """The figures of one policy; nulls where the run does not say."""
    requests = run.of(RequestRecord)
    processes = run.of(ProcessRecord)
    failed = [r for r in requests if r.error]
    window = run.window
    scale = run.scenario.realised_scale
    summary: dict[str, Any] = {
        "requests": len(requests),
        "requests_failed": len(failed),
        "requests_retried": sum(r.attempts > 1 for r in requests),
        "bytes_verified": sum(r.verified_bytes for r in requests if not r.error),
        "bytes_gathered": sum(p.copied_bytes.get("gathered", 0) for p in processes),
        "bytes_scattered": sum(p.copied_bytes.get("scattered", 0) for p in processes),
        "bytes_reloaded": sum(r.reloaded_bytes for r in requests),
        "bytes_given_up": sum(t.size_bytes for t in run.storage_reads)
        - sum(t.size_bytes for t in run.reads),
        "bytes_laid_down": sum(p.laid_down_bytes for p in processes),
        "storage": storage_figures(run.of(StorageRecord)),
        "cache": cache_figures(run.of(CacheRecord), *cached_and_stored_bytes(run)),
        "window_s": None if window is None else [window[0], window[1]],
    }
    if window is None:
        return summary | dict.fromkeys(_OF_THE_WINDOW) | _of_the_run(run)
    length_s = window[1] - window[0]
    done = run.in_window(requests, "t_done")
    load_bps = float(run.bytes_in_window(run.reads).sum()) * 8 / length_s if run.reads else 0.0
    measured = shares(run)
    steadiness = run.steadiness
    loads = nic_loads(run)
    best_bps = None
    if measured is not None and not run.from_caches:  # it is of KV from storage
        turn = TurnBytes(1.0, measured.miss, measured.generated)
        best_bps = best_split(shape_of(run.plan), turn).kv_load_bps
    imbalance = run.nics.imbalance(*window, scale.emulated_s(_IMBALANCE_STEP_S))
    return summary | {
        "kv_load_bps": load_bps,
        **intervals(run.read_between, np.array([r.t_done for r in done]), window),
        "kv_load_bps_full_scale": scale.real_rate_bps(load_bps),
        "turns_per_s": len(done) / length_s,
        "turns_per_s_full_scale": scale.real_per_s(len(done) / length_s),
        "path_share": None
        if measured is None
        else {"pe": measured.prefill, "de": 1 - measured.prefill},
        "bound_by": bound_by(run),
        "binds": binds(run),
        "best_split_bps": best_bps,
        "gap": None if best_bps is None else 1 - load_bps / best_bps,
        "steady": steadiness.steady if steadiness is not None else False,
        "thirds_bps": list(steadiness.thirds_bps) if steadiness is not None else None,
        "ttft_s": distribution(
            [r.t_first_token - r.t_submit for r in run.in_window(requests, "t_first_token")]
        ),
        "ttst_s": distribution(
            [r.t_second_token - r.t_submit for r in run.in_window(requests, "t_second_token")]
        ),
        "tpot_s": distribution(_tpots(run, requests)),
        "jct_s": distribution(
            [
                s.t_end - s.t_start
                for s in run.of(SessionRecord)
                if s.from_first_turn and window[0] <= s.t_end < window[1]
            ]
        ),
        "stall_s": distribution([r.stall_s for r in run.in_window(requests, "t_first_token")]),
        **engine_figures_of(run),
        "prediction_error": prediction_error(
            run.of(PredictionRecord),
            {r.request for r in run.in_window(requests, "t_scheduled")},
        ),
        "snic_max_avg": imbalance,
        **arrivals(run, requests, window),
        "hit_rate": _ratio(sum(r.hit_tokens for r in done), sum(r.prompt_tokens for r in done)),
        "miss_share": None if measured is None else measured.miss,
        "generated_share": None if measured is None else measured.generated,
        "nic_loads": [
            {
                "nic": load.name,
                "measured_bps": load.measured_bps,
                "formula_bps": load.formula_bps,
                "ratio": load.ratio,
            }
            for load in loads
        ],
        "nic_use": nic_use(run.samples, window),
        "round_trip_s": round_trips(run.of(RoundTripRecord), window, distribution),
        "slowdown": slowdowns(run.transfer_rows, window, distribution),
        "jain_agents": fairness(requests, window),
        "read_queue_empty_s": max(read_queues_empty_s(run).values(), default=None),
        "collectives": collective_figures(
            run.of(CollectiveRecord),
            {name: domain.role for name, domain in run.plan.domains.items()},
            window,
            distribution,
        ),
        **_of_the_run(run),
    }


def _of_the_run(run: Run) -> dict[str, Any]:
    """What the agents cost, what should not pass unseen, and what the figures rest on."""
    processes = run.of(ProcessRecord)
    rests_on = assumptions(run.scenario)
    return {
        "loop_lag_p99_s": max((p.loop_lag_p99_s for p in processes), default=None),
        "cpu_s": sum(p.cpu_s for p in processes),
        "agents_cores": _ratio(sum(p.load_cpu_s for p in processes), run.length_s),
        "process_cores": _ratio(max((p.load_cpu_s for p in processes), default=0.0), run.length_s),
        "messages_per_s": _ratio(sum(p.messages_sent for p in processes), run.length_s),
        "timers_per_s": _ratio(sum(p.timers for p in processes), run.length_s),
        "events": len(run.of(EventRecord)),
        "faults": sum(e.kind == "fault" for e in run.of(EventRecord)),
        "nodes_lost": run.lost,
        "fitted": rests_on.fitted,
        "derived": rests_on.derived,
    }


def arrivals(
    run: Run, requests: Sequence[RequestRecord], window: tuple[float, float]
) -> dict[str, Any]:
    """Sessions offered per second of the real cluster, and what came and went in the window."""
    opened, closed = window
    offered = run.scenario.workload.arrivals
    return {
        "aps_offered": None if offered is None else offered.rate,
        "sessions_arrived": sum(r.turn == 0 and opened <= r.t_submit < closed for r in requests),
        "sessions_completed": sum(opened <= s.t_end < closed for s in run.of(SessionRecord)),
    }


def _tpots(run: Run, requests: Sequence[RequestRecord]) -> list[float]:
    """Time per output token after the first; only where decoding takes time."""
    if run.scenario.engines == "network-only":
        return []
    return [
        (r.t_decode_end - r.t_decode_start) / (r.generate_tokens - 1)
        for r in run.in_window(requests, "t_decode_end")
        if r.generate_tokens > 1
    ]


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def comparison(
    scenario: DualPathScenario, prediction: Mapping[str, Any], outcomes: Mapping[str, Outcome]
) -> dict[str, Any]:
    """Scale, engines, bytes verified, and the speed-up of each policy over the first."""
    summaries = {name: outcome.summary for name, outcome in outcomes.items()}
    baseline = next(iter(summaries.values()), {})
    realised = scenario.realised_scale

    def over_first(name: str, metric: str) -> float | None:
        mine, first = summaries[name].get(metric), baseline.get(metric)
        return mine / first if mine is not None and first else None

    metrics = ("kv_load_bps", "turns_per_s")
    modelled = {
        name: prediction[name]
        for name in ("modelled_caps_turns_per_s", "modelled_speedup")
        if name in prediction
    }
    return modelled | {
        "engines": scenario.engines,
        "scale": {
            "rate": scenario.scale.rate,
            "bytes": scenario.scale.bytes,
            "bytes_realised": realised.bytes,
            "stretch": realised.stretch,
        },
        "bytes_verified": sum(s.get("bytes_verified", 0) for s in summaries.values()),
        "speedup": {
            name: {metric: over_first(name, metric) for metric in metrics} for name in summaries
        },
        "predicted": {
            name: {
                "kv_load_bps": found["kv_load_bps"],
                "speedup": found["speedup"],
                "bound_by": found["bound_by"],
                "binds": found["binds"],
            }
            for name, found in prediction["policies"].items()
        },
        "caps_turns_per_s": {
            name: cap if cap is not None and math.isfinite(cap) else None
            for name, cap in prediction["caps_turns_per_s"].items()
        },
    }
