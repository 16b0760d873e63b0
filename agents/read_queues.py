"""Whether the nodes' read queues ever ran empty, from what requests recorded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from agents.records import RequestRecord

_SIDES = {
    "pe": ("prefill",),
    "de": ("decode",),
    "split": ("prefill", "decode"),
    "peer": ("decode",),
}


def empty_s(
    requests: Sequence[RequestRecord], nodes: Iterable[str], window: tuple[float, float]
) -> dict[str, float]:
    """How long in a window no read of a node was waiting or under way.

    A read is in the queue of its node from its assignment until its last byte has been checked,
    as the scheduler counts it (`agents.engines.account`).

    Args:
        requests: all of the run.
        nodes: whose queues.
        window: (open, close).
    """
    queued: dict[str, list[tuple[float, float]]] = {node: [] for node in nodes}
    for r in requests:
        for side in _SIDES.get(r.path, ()):
            node = str(getattr(r, side)).rpartition("g")[0]
            if node in queued and r.t_read_end > r.t_scheduled:
                queued[node].append((r.t_scheduled, r.t_read_end))
    return {node: uncovered_s(spans, *window) for node, spans in queued.items()}


def uncovered_s(spans: Iterable[tuple[float, float]], open_s: float, close_s: float) -> float:
    """How much of [open_s, close_s] no span covers."""
    free_s, at = 0.0, open_s
    for first, last in sorted(spans):
        if first >= close_s:
            break
        free_s += max(0.0, first - at)
        at = max(at, last)
    return free_s + max(0.0, close_s - at)
