"""How evenly agents were served."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from agents.records import RequestRecord


def jain(values: Iterable[float]) -> float | None:
    """Jain's index: 1 if all are equal, 1/n if one has everything (DEC-TR-301, 1984).

    None where there is nothing to share.
    """
    array = np.fromiter(values, float)
    squares = float((array**2).sum())
    return float(array.sum()) ** 2 / (len(array) * squares) if squares else None


def agents_served(
    requests: Sequence[RequestRecord], window: tuple[float, float]
) -> dict[int, float]:
    """Prompt tokens that each agent was served in a window; 0 for who only waited.

    A turn counts evenly over its time, so that long turns do not make agents look uneven by
    where they happen to end.
    """
    served: dict[int, float] = {}
    for r in requests:
        inside_s = min(r.t_done, window[1]) - max(r.t_submit, window[0])
        if inside_s > 0:
            share = inside_s / (r.t_done - r.t_submit) if not r.error else 0.0
            served[r.agent] = served.get(r.agent, 0.0) + share * r.prompt_tokens
    return served
