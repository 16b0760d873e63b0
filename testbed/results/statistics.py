"""How sure figures of several runs are: medians with bootstrap intervals, and whether two differ.

Nothing here assumes that runs are normally distributed, and nothing claims more than its data can
carry.  With few runs that is little: the range of n of them holds the median of all with
probability 1 - 2^(1-n) at most, so an interval from three runs has a confidence of 75 %, whatever
was asked, and from five 94 %.  It is said with the interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from scipy import stats

from testbed.results.intervals import CONFIDENCE, Floats, Interval, checked

_RESAMPLES = 2000
_SEED = 20  # of the resampling: the same data have the same interval, always


class Change(msgspec.Struct, frozen=True):
    """How one set of runs compares with another, in one metric.

    Args:
        ratio: of the first set over the second; None where a value is not positive.
        p_value: how often chance alone would make a difference at least as large; None with
            fewer than two runs on a side.
        least_p: the smallest p-value that so few runs can have.
        paired: each run was compared with its partner, which had the same seed.
    """

    ratio: Interval | None
    p_value: float | None
    least_p: float | None
    paired: bool

    def significant(self, level: float = 1 - CONFIDENCE) -> bool | None:
        """Whether it is more than chance, at this level; None if so few runs could not tell."""
        if self.p_value is None or self.least_p is None or self.least_p > level:
            return None
        return self.p_value <= level


def median(values: Sequence[float], *, confidence: float = CONFIDENCE) -> Interval:
    """The median of independent runs, with a bootstrap interval.

    The percentile bootstrap (Efron and Tibshirani 1993, chapter 13): the corrections of BCa rest on
    the jackknife, which is not consistent for a median.  Of six to fifteen values it holds the true
    median in 90 % of cases where 95 are asked for, so it is made as wide as the order statistics
    that hold it often enough whatever the distribution (the sign test's interval).

    Args:
        values: one of each run, shape (n,), n ≥ 1; one value has no interval.  What one run has
            many of depends on each other (`testbed.results.intervals.batch_medians`).
        confidence: asked for.

    Raises:
        ValueError: there is no value, or one is not finite.
    """
    data = checked(values)
    middle = float(np.median(data))
    if len(data) == 1:
        return Interval(middle, None, None, None, 1)
    low, high = _bootstrap((data,), _median, middle, confidence)
    low, high = max(low, float(data.min())), min(high, float(data.max()))
    least, most = _by_order(data, confidence)
    low, high = min(low, least), max(high, most)
    return Interval(middle, low, high, min(confidence, _of_range(len(data))), len(data))


def change(
    mine: Sequence[float],
    baseline: Sequence[float],
    *,
    paired: bool,
    confidence: float = CONFIDENCE,
) -> Change:
    """One set of runs against another: the ratio with its interval, and whether it is chance.

    The ratio of pairs is the median of the pairs' ratios, else that of the medians.  Chance is
    judged by a permutation test of the means (Fisher, Pitman), which assumes nothing but that
    labels could be exchanged; it is exact where there are few runs.

    Args:
        mine: one value of each run, shape (n,).
        baseline: the same of the runs that they are compared with, shape (m,).
        paired: the runs belong together one by one (equal seeds), so that n = m.
        confidence: asked for.

    Raises:
        ValueError: a side has no value, one is not finite, or pairs are not complete.
    """
    ours, theirs = checked(mine), checked(baseline)
    if paired and len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} and {len(theirs)} values are no pairs")
    p_value, least_p = _by_chance(ours, theirs, paired)
    return Change(_ratio(ours, theirs, paired, confidence), p_value, least_p, paired)


def _ratio(ours: Floats, theirs: Floats, paired: bool, confidence: float) -> Interval | None:
    if ours.min() <= 0 or theirs.min() <= 0:
        return None
    if paired:
        return median((ours / theirs).tolist(), confidence=confidence)
    value = float(np.median(ours) / np.median(theirs))
    fewer = min(len(ours), len(theirs))
    if fewer == 1:
        return Interval(value, None, None, None, 1)
    low, high = _bootstrap((ours, theirs), _median_ratio, value, confidence)
    return Interval(value, low, high, min(confidence, _of_range(fewer)), fewer)


def _by_chance(ours: Floats, theirs: Floats, paired: bool) -> tuple[float | None, float | None]:
    """The p-value of a difference in means, and the least that there can be."""
    if min(len(ours), len(theirs)) < 2:
        return None, None
    splits = 2 ** len(ours) if paired else math.comb(len(ours) + len(theirs), len(ours))
    least = min(1.0, 2 / splits)
    if np.ptp(np.concatenate([ours, theirs])) == 0:
        return 1.0, least  # nothing differs from anything
    found = stats.permutation_test(
        (ours, theirs),
        _mean_difference,
        permutation_type="samples" if paired else "independent",
        vectorized=True,
        n_resamples=_RESAMPLES,
        rng=np.random.default_rng(_SEED),
    )
    return float(found.pvalue), max(least, 2 / (_RESAMPLES + 1)) if splits > _RESAMPLES else least


def _of_range(count: int) -> float:
    """How sure the range of so many values holds the median that all have in common."""
    return 1.0 - 2.0 ** (1 - count)


def _by_order(data: Floats, confidence: float) -> tuple[float, float]:
    """The k-th smallest and the k-th largest value, for the largest k that is sure enough; k >= 1.

    The median is below the k-th smallest of n values if fewer than k of them are below it, which
    happens as often as fewer than k of n coins show heads.
    """
    ordered = np.sort(data)
    count, outside, deep = len(data), 0.0, 0
    while True:
        outside += 2 * math.comb(count, deep) / 2**count
        if deep and outside > 1 - confidence:
            break
        deep += 1
    return float(ordered[deep - 1]), float(ordered[count - deep])


def _bootstrap(
    samples: tuple[Floats, ...], statistic: Any, value: float, confidence: float
) -> tuple[float, float]:
    """The percentile interval of a statistic, which is `value` of the samples themselves."""
    found = stats.bootstrap(
        samples,
        statistic,
        vectorized=True,
        n_resamples=_RESAMPLES,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(_SEED),
    ).confidence_interval
    # Interpolating between equal resamples may round to the next number beyond them.
    return min(float(found.low), value), max(float(found.high), value)


def _median(values: Floats, axis: int = -1) -> Any:
    return np.median(values, axis=axis)


def _median_ratio(ours: Floats, theirs: Floats, axis: int = -1) -> Any:
    return np.median(ours, axis=axis) / np.median(theirs, axis=axis)


def _mean_difference(ours: Floats, theirs: Floats, axis: int = -1) -> Any:
    return ours.mean(axis=axis) - theirs.mean(axis=axis)
