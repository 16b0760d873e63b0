"""How sure a figure is: medians with bootstrap intervals, batch means, and whether two differ.

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
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95
_RESAMPLES = 2000
_BATCHES = 20
_LEAST_BATCHES = 5
_SEED = 20  # of the resampling: the same data have the same interval, always
Floats = NDArray[np.float64]


class Interval(msgspec.Struct, frozen=True):
    """A figure, and where the true one is.

    Args:
        value: the estimate, in the unit of the data.
        low, high: the ends of the interval; None where the data allow none.
        confidence: with which it holds the true value; less than was asked if the data are few.
        count: values that it rests on.
    """

    value: float
    low: float | None
    high: float | None
    confidence: float | None
    count: int

    @property
    def width(self) -> float | None:
        """high - low; None where there is no interval."""
        return None if self.low is None or self.high is None else self.high - self.low

    def holds(self, value: float) -> bool:
        """Whether a value is inside the interval; never, where there is none."""
        return self.low is not None and self.high is not None and self.low <= value <= self.high


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
    the jackknife, which is not consistent for a median.

    Args:
        values: one of each run, shape (n,), n ≥ 1; one value has no interval.
        confidence: asked for.

    Raises:
        ValueError: there is no value, or one is not finite.
    """
    data = _checked(values)
    middle = float(np.median(data))
    if len(data) == 1:
        return Interval(middle, None, None, None, 1)
    low, high = _bootstrap((data,), _median, middle, confidence)
    low, high = max(low, float(data.min())), min(high, float(data.max()))
    return Interval(middle, low, high, min(confidence, _of_range(len(data))), len(data))


def batch_means(values: Sequence[float], *, confidence: float = CONFIDENCE) -> Interval:
    """The mean of one run's steady series, whose neighbouring values depend on each other.

    The series is cut into batches whose means are nearly independent, and these have a t interval
    (Schmeiser 1982: between 10 and 30 batches serve).  While neighbouring batches are alike, two of
    them are made one.  A series that is still moving has no such interval: it must be of the
    steady window.

    Args:
        values: of equal spans of time, in order, shape (n,); fewer than four have no interval.
        confidence: asked for.

    Raises:
        ValueError: there is no value, or one is not finite.
    """
    data = _checked(values)
    batches = min(_BATCHES, len(data) // 2)
    if batches < 2:
        return Interval(float(data.mean()), None, None, None, len(data))
    size = len(data) // batches
    # What does not fill a batch is left out at the beginning, where the window has just opened.
    means = data[len(data) - batches * size :].reshape(batches, size).mean(axis=1)
    middle = float(means.mean())
    while len(means) >= 2 * _LEAST_BATCHES and _alike(means):
        means = means[len(means) % 2 :].reshape(-1, 2).mean(axis=1)
    error = float(means.std(ddof=1)) / math.sqrt(len(means))
    reach = float(stats.t.ppf((1 + confidence) / 2, len(means) - 1)) * error
    return Interval(middle, middle - reach, middle + reach, confidence, len(data))


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
    ours, theirs = _checked(mine), _checked(baseline)
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


def _alike(means: Floats) -> bool:
    """Whether neighbours are more alike than those of an independent series in 19 of 20 cases."""
    apart = means - means.mean()
    spread = float((apart**2).sum())
    lag1 = float((apart[1:] * apart[:-1]).sum()) / spread if spread else 0.0
    return lag1 > float(stats.norm.ppf(CONFIDENCE)) / math.sqrt(len(means))


def _of_range(count: int) -> float:
    """How sure the range of so many values holds the median that all have in common."""
    return 1.0 - 2.0 ** (1 - count)


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


def _checked(values: Sequence[float]) -> Floats:
    data = np.asarray(values, np.float64)
    if data.ndim != 1 or not len(data):
        raise ValueError("there is no value to say anything of")
    if not np.isfinite(data).all():
        raise ValueError("a value is not a finite number")
    return data
