"""The steady window: the part of a run whose figures count, by one rule for every variant.

It opens after warm-up, closes before anything drains, and is steady when the loads of its first and
of its last third are alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Window:
    """A measured window.

    Args:
        open_s, close_s: time.monotonic() seconds.
        thirds_bps: load of each third, bit/s.
        steady: first and last third are within the tolerance.
    """

    open_s: float
    close_s: float
    thirds_bps: tuple[float, float, float]
    steady: bool


def opening_s(began_s: float, mean_turn_s: float, least_s: float, turns: float) -> float:
    """When the window opens: after `least_s`, and after `turns` mean turn times."""
    return began_s + max(least_s, turns * mean_turn_s)


def in_window(
    first_s: Floats, last_s: Floats, sizes: Floats, open_s: float, close_s: float
) -> Floats:
    """Bytes of each transfer that arrived inside a window.

    A transfer is spread evenly between its first and its last byte; one that took no time counts
    whole, at its instant.

    Args:
        first_s, last_s: arrival of first and last byte, shape (n,).
        sizes: bytes, shape (n,).
        open_s, close_s: the window.
    """
    took = last_s - first_s
    inside = np.clip(np.minimum(last_s, close_s) - np.maximum(first_s, open_s), 0.0, None)
    instant = (first_s >= open_s) & (first_s < close_s)
    share = np.where(took > 0, inside / np.where(took > 0, took, 1.0), instant)
    return np.asarray(sizes * share, np.float64)


def steady_window(
    first_s: Floats,
    last_s: Floats,
    sizes: Floats,
    open_s: float,
    close_s: float,
    tolerance: float,
) -> Window:
    """The window, and whether the load in it is steady.

    Args:
        first_s, last_s, sizes: arrivals, as for `in_window`.
        open_s, close_s: the window.
        tolerance: by which share of the larger the first and last third may differ.
    """
    if close_s <= open_s:  # closed before it had opened: nothing was measured
        return Window(open_s, close_s, (0.0, 0.0, 0.0), False)
    edges = np.linspace(open_s, close_s, 4)
    rates = [
        float(in_window(first_s, last_s, sizes, a, b).sum()) * 8 / (b - a)
        for a, b in pairwise(edges.tolist())
    ]
    larger = max(rates[0], rates[2])
    steady = larger > 0 and abs(rates[0] - rates[2]) <= tolerance * larger
    return Window(open_s, close_s, (rates[0], rates[1], rates[2]), steady)
