"""How far the cost model's predictions were from what happened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from agents.records import PredictionRecord


def prediction_error(
    predictions: Sequence[PredictionRecord], requests: set[int]
) -> dict[str, Any] | None:
    """Relative errors of the predicted time until hit KV was in DRAM.

    A copy out of the node's own cache is predicted to take none, so that there is nothing to set in
    relation: it is left out.

    Args:
        predictions: of a run.
        requests: those that count.

    Returns:
        Over all and by path: how many `requests`, the `median` and `p90` of
        |predicted - measured| / measured, and the `bias`, the median of predicted / measured - 1.
        None where there is nothing.
    """
    seen = [p for p in predictions if p.request in requests and p.chosen_read_s > 0]
    if not seen:
        return None
    paths = sorted({p.path for p in seen})
    return _error(seen) | {"by_path": {path: _of_path(seen, path) for path in paths}}


def _of_path(seen: Sequence[PredictionRecord], path: str) -> dict[str, float]:
    return _error([p for p in seen if p.path == path])


def _error(seen: Sequence[PredictionRecord]) -> dict[str, float]:
    relative = np.array([p.chosen_read_s / p.read_s - 1 for p in seen])
    return {
        "requests": len(seen),
        "median": float(np.median(np.abs(relative))),
        "p90": float(np.percentile(np.abs(relative), 90)),
        "bias": float(np.median(relative)),
    }
