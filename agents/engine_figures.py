"""What engines did in the steady window: where GPU time went, how large batches were, ITL."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from agents.recorded import Run
from agents.records import IterationRecord, StepRecord

_MOST_IDLE = 0.05  # share of their time in which engines that bind have nothing to do


def engine_figures(
    iterations: Sequence[IterationRecord],
    steps: Sequence[StepRecord],
    window: tuple[float, float],
    nodes: int,
    ranks: int,
) -> dict[str, Any]:
    """Figures of the iterations and steps that ended in a window; nulls where there were none.

    Args:
        iterations, steps: of all engines.
        window: (open, close).
        nodes, ranks: prefill nodes of the cluster, and engines of each.
    """
    opened, closed = window
    prefill = [i for i in iterations if opened <= i.t_end < closed]
    decode = [s for s in steps if opened <= s.t_end < closed]
    shares = gpu_time(prefill, nodes * ranks * (closed - opened)) if prefill else None
    return {
        "gpu_time": shares,
        "gpu_wait_share": None if shares is None else shares["kv"] / (1 - shares["idle"]),
        "prefill_batch": float(np.mean([i.requests for i in prefill])) if prefill else None,
        "attention_max_avg": attention_max_avg(prefill, ranks) if prefill else None,
        "decode_batch": float(np.mean([s.requests for s in decode])) if decode else None,
        "itl_s": token_latency(decode),
    }


def engine_figures_of(run: Run) -> dict[str, Any]:
    """The same of a run that has a window."""
    assert run.window is not None
    kinds = [d.kind for d in run.plan.domains.values() if d.role == "prefill"]
    nodes = kinds.count("dram")
    return engine_figures(
        run.of(IterationRecord),
        run.of(StepRecord),
        run.window,
        nodes=nodes,
        ranks=kinds.count("hbm") // max(1, nodes),
    )


def always_at_work(shares: Mapping[str, float] | None) -> bool:
    """Whether prefill engines bind: they had work, or waited for each other or for its KV.

    Args:
        shares: of `gpu_time`; None where nothing was computed.
    """
    return shares is not None and shares["idle"] <= _MOST_IDLE


def gpu_time(iterations: Sequence[IterationRecord], total_s: float) -> dict[str, float]:
    """Shares of prefill engines' time: computing, waiting for KV, ranks and collectives, idle.

    Waiting for KV is both for layers on their way into HBM, and for reads when an engine has
    requests but none that is read.

    Args:
        iterations: in the window.
        total_s: the window times the engines.
    """
    compute_s = sum(i.attention_s + i.ffn_s for i in iterations)
    kv_s = sum(i.stall_s + i.starved_s for i in iterations)
    ranks_s = sum(i.wait_s for i in iterations)
    # What an iteration took besides is the traffic of model execution.
    took_s = sum(i.t_end - i.t_start + i.starved_s for i in iterations)
    collectives_s = max(0.0, took_s - compute_s - kv_s - ranks_s)
    shares = {
        "compute": compute_s, "kv": kv_s, "ranks": ranks_s, "collectives": collectives_s,
    }  # fmt: skip
    found = {name: seconds / total_s for name, seconds in shares.items()}
    return found | {"idle": max(0.0, 1.0 - sum(found.values()))}


def attention_max_avg(iterations: Sequence[IterationRecord], ranks: int) -> float:
    """Attention time of the slowest rank over the mean of all ranks of its node.

    Weighted by time, over all iterations of all nodes; ranks without work count as zero
    (DualPath, figure 14).

    Args:
        ranks: engines of a node.
    """
    together: dict[tuple[str, int], list[float]] = defaultdict(list)
    for iteration in iterations:
        node = iteration.engine.rpartition("g")[0]
        together[node, iteration.iteration].append(iteration.attention_s)
    slowest_s = sum(max(times) for times in together.values())
    mean_s = sum(sum(times) / ranks for times in together.values())
    return slowest_s / mean_s if mean_s else 1.0


def token_latency(steps: Sequence[StepRecord]) -> dict[str, float | None]:
    """p50, p99 and mean of the time between tokens: each step is one for each of its requests."""
    if not steps:
        return {"p50": None, "p99": None, "mean": None}
    durations = np.array([step.t_end - step.t_start for step in steps])
    requests = np.array([step.requests for step in steps], float)
    order = np.argsort(durations)
    reached = np.cumsum(requests[order]) / requests.sum()
    return {
        "p50": float(durations[order][np.searchsorted(reached, 0.50)]),
        "p99": float(durations[order][np.searchsorted(reached, 0.99)]),
        "mean": float(np.average(durations, weights=requests)),
    }
