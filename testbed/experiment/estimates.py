"""Figures of a steady window with their intervals: rates, ratios, and several runs together."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from testbed.results.intervals import Interval, batch_means, batch_medians
from testbed.results.statistics import median

_STEPS = 60  # that a window is cut into: batches need a few each
CHOSEN = 0.9  # what an interval of 95 % holds that was the narrowest of three


def exactly(value: float) -> Interval:
    """A figure that was calculated, not measured."""
    return Interval(value, None, None, None, 1)


def rate(
    at_s: ArrayLike, window: tuple[float, float], weights: ArrayLike | None = None
) -> Interval | None:
    """Events per second in a window, with an interval by batch means.

    Args:
        at_s: when each happened, shape (n,).
        window: (open, close), the same clock.
        weights: what each counts, shape (n,); default 1.

    Returns:
        None if nothing happened in the window.
    """
    times = np.asarray(at_s, float)
    edges = np.linspace(*window, _STEPS + 1)
    counts, _ = np.histogram(times, edges, weights=weights)
    if not counts.any():
        return None
    return batch_means((counts / np.diff(edges)).tolist())


def arrival_rate(
    first_s: ArrayLike, last_s: ArrayLike, sizes: ArrayLike, window: tuple[float, float]
) -> Interval | None:
    """Of what arrives over a while: each size is spread evenly from its first to its last byte.

    Args:
        first_s, last_s, sizes: shape (n,).
        window: (open, close), the same clock.
    """
    first, last = np.asarray(first_s, float), np.asarray(last_s, float)
    size = np.asarray(sizes, float)
    edges = np.linspace(*window, _STEPS + 1)
    took = np.maximum(last - first, 1e-9)
    # What had arrived of each by every edge.
    arrived = np.clip((edges[:, None] - first) / took, 0.0, 1.0) @ size
    steps = np.diff(arrived) / np.diff(edges)
    return batch_means(steps.tolist()) if steps.any() else None


def scaled(found: Interval | None, factor: float) -> Interval | None:
    """The same figure in another unit."""
    if found is None:
        return None
    ends = [None if end is None else end * factor for end in (found.low, found.high)]
    return Interval(found.value * factor, ends[0], ends[1], found.confidence, found.count)


def inverse(found: Interval | None, numerator: float = 1.0) -> Interval | None:
    """numerator / figure; None if the figure is 0."""
    if found is None or found.value == 0:
        return None
    low, high = found.low, found.high
    return Interval(
        numerator / found.value,
        None if high is None or high <= 0 else numerator / high,
        None if low is None or low <= 0 else numerator / low,
        found.confidence,
        found.count,
    )


def ratio(ours: Interval | None, theirs: Interval | None) -> Interval | None:
    """ours / theirs of two runs that know nothing of each other.

    Relative errors add up as squares (the delta method, on the logarithm); a figure of one
    value counts as exact; one of several that has no interval leaves the ratio without.
    """
    if ours is None or theirs is None or ours.value <= 0 or theirs.value <= 0:
        return None
    value = ours.value / theirs.value
    count = min(ours.count, theirs.count)
    errors = [error for each in (ours, theirs) if (error := _relative(each)) is not None]
    unknown = any(each.width is None and each.count > 1 for each in (ours, theirs))
    if unknown or not errors:
        return Interval(value, None, None, None, count)
    reach = math.exp(math.hypot(*errors))
    sure = min(each.confidence for each in (ours, theirs) if each.confidence is not None)
    return Interval(value, value / reach, value * reach, sure, count)


def together(each_run: Sequence[Interval | None]) -> Interval | None:
    """One figure of several runs: the median with its interval; of one run, its own interval."""
    known = [found for found in each_run if found is not None]
    if len(known) < 2:
        return known[0] if known else None
    return median([found.value for found in known])


def mean_of(values: ArrayLike) -> Interval | None:
    """The mean of a window's values in their order, with an interval by batch means."""
    found = np.asarray(values, float)
    return batch_means(found.tolist()) if len(found) else None


def median_of(values: ArrayLike) -> Interval | None:
    """The median of a window's values in their order, with an interval by its batches' medians."""
    found = np.asarray(values, float)
    return batch_medians(found.tolist()) if len(found) else None


def surest(found: Sequence[Interval | None]) -> Interval | None:
    """Of several estimates of one figure that with the narrowest interval, relative to its value.

    The narrowest of three is more often too narrow than one that was chosen beforehand: where all
    are alike, intervals of 95 % then hold the true value in 90 % of cases.  So they claim that.
    """
    known = [each for each in found if each is not None]
    if not known:
        return None
    best = min(known, key=lambda each: math.inf if each.width is None else each.width / each.value)
    if len(known) == 1 or best.confidence is None:
        return best
    return msgspec.structs.replace(best, confidence=min(best.confidence, CHOSEN))


def _relative(found: Interval) -> float | None:
    """Half the width of an interval as a share of the value; None where there is no interval."""
    return None if found.width is None else found.width / 2 / found.value
