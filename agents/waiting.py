"""The share of time in which prefill GPUs wait for KV."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

from agents.compute import prefill_flops
from agents.records import RequestRecord
from agents.settings import DualPathScenario


def wait_share(
    scenario: DualPathScenario,
    requests: Iterable[RequestRecord],
    window: tuple[float, float],
) -> float | None:
    """`gpu_wait_share` of a run, compute times by its model; None where nothing is computed."""
    if scenario.engines == "network-only":
        return None
    model, scale = scenario.resolved_model, scenario.realised_scale
    flops_per_s, _ = scenario.engine_speeds

    def compute_s(record: RequestRecord) -> float:
        miss_tokens = record.prompt_tokens - record.hit_tokens
        return scale.emulated_s(prefill_flops(model, record.hit_tokens, miss_tokens) / flops_per_s)

    return gpu_wait_share(requests, window, compute_s)


def gpu_wait_share(
    requests: Iterable[RequestRecord],
    window: tuple[float, float],
    compute_s: Callable[[RequestRecord], float],
) -> float | None:
    """Of the time in which engines have something to prefill, the share in which they do not.

    An engine has something to prefill from when a request of its own has its buffers, so that
    nothing but KV is missing, until that request's first token.  While one request waits for
    its KV another may compute: an engine waits only when none does.  What it computes is taken
    from each request's tokens, spread evenly over the time from the start of its prefill to its
    first token.

    Args:
        requests: of all engines; those that failed are left out.
        window: (open, close).
        compute_s: seconds that an engine computes for a request.

    Returns:
        None when no engine had anything to prefill.
    """
    by_engine: dict[str, list[RequestRecord]] = defaultdict(list)
    for record in requests:
        if not record.error:
            by_engine[record.prefill].append(record)
    present_s = busy_s = 0.0
    for records in by_engine.values():
        present = _union_s([_within(r.t_allocated, r.t_first_token, window) for r in records])
        computing = sum(
            compute_s(r) * _part(r.t_prefill_start, r.t_first_token, window) for r in records
        )
        present_s += present
        # Attributed by even spreading, a little may fall outside: never more than was there.
        busy_s += min(computing, present)
    return 1 - busy_s / present_s if present_s > 0 else None


def _within(start_s: float, end_s: float, window: tuple[float, float]) -> tuple[float, float]:
    return max(start_s, window[0]), min(end_s, window[1])


def _part(start_s: float, end_s: float, window: tuple[float, float]) -> float:
    """How much of an interval lies in the window."""
    inside_from, inside_to = _within(start_s, end_s, window)
    if end_s <= start_s:
        return float(window[0] <= start_s < window[1])
    return max(0.0, inside_to - inside_from) / (end_s - start_s)


def _union_s(intervals: list[tuple[float, float]]) -> float:
    """Length of what intervals cover together."""
    covered = 0.0
    reached = float("-inf")
    for start, end in sorted(intervals):
        if end > max(start, reached):
            covered += end - max(start, reached)
            reached = end
    return covered
