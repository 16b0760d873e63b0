"""Confidence intervals of a single run's means, by batch means.

Neighbouring moments of a run are correlated, so its samples say too much.  A window is cut into a
few long batches instead; their means are nearly independent, and Student's t is applied to them
(A. M. Law, Simulation Modeling and Analysis, section 9.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BATCHES = 10
_LEAST_BATCHES = 4
_CONFIDENCE = 0.95
# Beyond this, neighbouring batches are alike: two of them are made one.  It is the 95 % point of
# the lag-1 correlation of ten independent values.
_MOST_CORRELATION = 0.52


class Interval(NamedTuple):
    """A mean with its confidence interval.

    Args:
        mean, low, high: in the values' unit.
        batches: that it rests on.
        correlation: of neighbouring batches (lag 1); far above 0 means that the interval is too
            narrow: a longer window is needed.
    """

    mean: float
    low: float
    high: float
    batches: int
    correlation: float


def batch_means(values: Sequence[float] | NDArray[np.float64]) -> Interval | None:
    """The 95 % interval of a mean from the means of equal batches, in order of time.

    Batches that are correlated are joined in pairs, as long as enough are left.

    Args:
        values: the mean of each batch, shape (batches,).

    Returns:
        None for fewer than four batches.
    """
    from scipy.special import stdtrit

    means = np.asarray(values, float)
    if len(means) < _LEAST_BATCHES:
        return None
    while (correlated := _lag1(means)) > _MOST_CORRELATION and len(means) >= 2 * _LEAST_BATCHES:
        even = means[: len(means) // 2 * 2]
        means = even.reshape(-1, 2).mean(axis=1)
    mean = float(np.mean(np.asarray(values, float)))
    quantile = float(stdtrit(len(means) - 1, 0.5 + _CONFIDENCE / 2))
    half = quantile * float(means.std(ddof=1)) / np.sqrt(len(means))
    return Interval(mean, mean - half, mean + half, len(means), correlated)


def _lag1(means: NDArray[np.float64]) -> float:
    """Correlation of each batch with the next; 0 where nothing varies."""
    apart = means - means.mean()
    spread = float((apart**2).sum())
    return float((apart[1:] * apart[:-1]).sum()) / spread if spread > 0 else 0.0
