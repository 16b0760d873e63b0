"""A figure of many values: where their middle, their mean and their tail are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


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
