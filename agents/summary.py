"""What a run came to: the documented figures of `testbed run --json`, from records and counters.

Every figure is of the steady window, and of bytes that *arrived* in it: counting completed requests
instead gives rates above the line's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from agents.assumptions import assumptions
from agents.binding import binds, bound_by, read_queues_empty_s
from agents.bounds import best_split
from agents.cache_figures import cache_figures
from agents.caps import TurnBytes, shape_of
from agents.distribution import distribution
from agents.engine_figures import engine_figures_of
from agents.network_figures import (
    Window,
    fairness,
    intervals,
    nic_use,
    round_trips,
    slowdowns,
)
from agents.nic_loads import nic_loads, shares
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
)
from agents.traffic.summary import collective_figures

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
    summary = _of_requests(run)
    window = run.window
    if window is None:
        return summary | dict.fromkeys(_OF_THE_WINDOW) | _of_the_run(run)
    return {
        **summary,
        **_rates(run, window),
        **_times(run, window),
        **engine_figures_of(run),
        **_load(run, window),
        **_network(run, window),
        **_of_the_run(run),
    }


def _of_requests(run: Run) -> dict[str, Any]:
    """What became of all requests, and of their bytes."""
    requests, processes = run.of(RequestRecord), run.of(ProcessRecord)
    return {
        "requests": len(requests),
        "requests_failed": sum(bool(r.error) for r in requests),
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
        "window_s": None if run.window is None else list(run.window),
    }


def _rates(run: Run, window: Window) -> dict[str, Any]:
    """How fast KV was read and turns were served, what bound that, and how steady it was."""
    length_s = window[1] - window[0]
    scale = run.scenario.realised_scale
    done = run.in_window(run.of(RequestRecord), "t_done")
    load_bps = float(run.bytes_in_window(run.reads).sum()) * 8 / length_s if run.reads else 0.0
    measured, steadiness = shares(run), run.steadiness
    best_bps = None
    if measured is not None and not run.from_caches:  # it is of KV from storage
        turn = TurnBytes(1.0, measured.miss, measured.generated)
        best_bps = best_split(shape_of(run.plan), turn).kv_load_bps
    sides = None if measured is None else {"pe": measured.prefill, "de": 1 - measured.prefill}
    return {
        "kv_load_bps": load_bps,
        **intervals(run.read_between, np.array([r.t_done for r in done]), window),
        "kv_load_bps_full_scale": scale.real_rate_bps(load_bps),
        "turns_per_s": len(done) / length_s,
        "turns_per_s_full_scale": scale.real_per_s(len(done) / length_s),
        "path_share": sides,
        "bound_by": bound_by(run),
        "binds": binds(run),
        "best_split_bps": best_bps,
        "gap": None if best_bps is None else 1 - load_bps / best_bps,
        "steady": steadiness.steady if steadiness is not None else False,
        "thirds_bps": list(steadiness.thirds_bps) if steadiness is not None else None,
    }


def _times(run: Run, window: Window) -> dict[str, Any]:
    """What requests and sessions took."""
    requests = run.of(RequestRecord)
    begun = run.in_window(requests, "t_first_token")
    second = run.in_window(requests, "t_second_token")
    whole = [
        s.t_end - s.t_start
        for s in run.of(SessionRecord)
        if s.from_first_turn and window[0] <= s.t_end < window[1]
    ]
    return {
        "ttft_s": distribution([r.t_first_token - r.t_submit for r in begun]),
        "ttst_s": distribution([r.t_second_token - r.t_submit for r in second]),
        "tpot_s": distribution(_tpots(run)),
        "jct_s": distribution(whole),
        "stall_s": distribution([r.stall_s for r in begun]),
    }


def _tpots(run: Run) -> list[float]:
    """Time per output token after the first; only where decoding takes time."""
    if run.scenario.engines == "network-only":
        return []
    return [
        (r.t_decode_end - r.t_decode_start) / (r.generate_tokens - 1)
        for r in run.in_window(run.of(RequestRecord), "t_decode_end")
        if r.generate_tokens > 1
    ]


def _load(run: Run, window: Window) -> dict[str, Any]:
    """What was asked for, how well it was foreseen and spread, and how much of it was stored."""
    requests = run.of(RequestRecord)
    done, measured = run.in_window(requests, "t_done"), shares(run)
    step_s = run.scenario.realised_scale.emulated_s(_IMBALANCE_STEP_S)
    return {
        "prediction_error": prediction_error(
            run.of(PredictionRecord),
            {r.request for r in run.in_window(requests, "t_scheduled")},
        ),
        "snic_max_avg": run.nics.imbalance(*window, step_s),
        **_arrivals(run, window),
        "hit_rate": _ratio(sum(r.hit_tokens for r in done), sum(r.prompt_tokens for r in done)),
        "miss_share": None if measured is None else measured.miss,
        "generated_share": None if measured is None else measured.generated,
    }


def _arrivals(run: Run, window: Window) -> dict[str, Any]:
    """Sessions offered per second of the real cluster, and what came and went in the window."""
    opened, closed = window
    offered = run.scenario.workload.arrivals
    requests, sessions = run.of(RequestRecord), run.of(SessionRecord)
    return {
        "aps_offered": None if offered is None else offered.rate,
        "sessions_arrived": sum(r.turn == 0 and opened <= r.t_submit < closed for r in requests),
        "sessions_completed": sum(opened <= s.t_end < closed for s in sessions),
    }


def _network(run: Run, window: Window) -> dict[str, Any]:
    """What NICs, connections and transfers did, and how evenly agents were served."""
    return {
        "nic_loads": [
            {
                "nic": load.name,
                "measured_bps": load.measured_bps,
                "formula_bps": load.formula_bps,
                "ratio": load.ratio,
            }
            for load in nic_loads(run)
        ],
        "nic_use": nic_use(run.samples, window),
        "round_trip_s": round_trips(run.of(RoundTripRecord), window),
        "slowdown": slowdowns(run.transfer_rows, window),
        "jain_agents": fairness(run.of(RequestRecord), window),
        "read_queue_empty_s": max(read_queues_empty_s(run).values(), default=None),
        "collectives": collective_figures(
            run.of(CollectiveRecord),
            {name: domain.role for name, domain in run.plan.domains.items()},
            window,
        ),
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


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
