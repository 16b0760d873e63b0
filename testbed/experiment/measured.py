"""Predicted | measured: what a prediction says of each variant, beside what came of it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from testbed.experiment.workload import Series
from testbed.fidelity.monitor import MachineSample, weighed

SPEEDUP = "speedup"
BINDS = "binds"
"""What limits a variant, by a name that predictions and measurements of a workload share."""


def machine_figures(
    series: Series,
    window: tuple[float, float] | None,
    machine: Sequence[MachineSample],
    *,
    bring_up_s: float,
    ready_s: float,
    available_bytes: int,
) -> dict[str, Any]:
    """What one variant took of the machine, by the names that predictions use.

    Args:
        series: its times.
        window: (open, close) of its steady window; None if there was none.
        machine: the monitor's samples.
        bring_up_s, ready_s: until the cluster was up, and then until its programs were.
        available_bytes: memory before any of that.

    Returns:
        `cores`, busy in the window, with whatever else ran; `memory_bytes`, the most that was taken
        of what was available before (None if others gave back more); the parts of `length_s`, see
        `testbed predict`.
    """
    least_bytes = min((s.available_bytes for s in machine if s.available_bytes), default=math.inf)
    taken_bytes = available_bytes - least_bytes
    found: dict[str, Any] = {
        "cores": None,
        "memory_bytes": taken_bytes if taken_bytes > 0 else None,
        "bring_up_s": bring_up_s,
        "ready_s": ready_s,
        "warm_up_s": None,
        "window_length_s": None,
        "drain_s": None,
        "length_s": bring_up_s + ready_s + series.ended_s - series.started_s,
    }
    if window is not None:
        opened_s, closed_s = window
        if seen := weighed(machine, window):
            busy_s = sum(sample.cpu_share * seconds for sample, seconds in seen)
            found["cores"] = busy_s / sum(each.seconds for each in seen) * (os.cpu_count() or 1)
        found["warm_up_s"] = opened_s - series.started_s
        found["window_length_s"] = closed_s - opened_s
        found["drain_s"] = series.ended_s - closed_s
    return found


def beside(
    prediction: Mapping[str, Any],
    measured: Mapping[str, Mapping[str, Any]],
    comparison: Mapping[str, Any],
) -> dict[str, dict[str, dict[str, Any]]]:
    """Predicted and measured figures of the same name, side by side.

    Args:
        prediction: `policies` is variant -> its figures.
        measured: variant -> all that was measured.
        comparison: figures over all variants: `speedup` is variant -> metric -> factor, of which
            the first that was measured is taken.

    Returns:
        variant -> figure -> `predicted`, `measured`, and `error`, measured / predicted - 1; null
        where that makes no sense.  Of what binds also `same`; null where one of them is.  Only
        figures that are measured under their name.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for variant, seen in measured.items():
        factors = comparison.get(SPEEDUP, {}).get(variant, {}).values()
        factor = next((factor for factor in factors if factor is not None), None)
        mine = {**seen, SPEEDUP: factor}
        found[variant] = {
            name: {
                "predicted": value,
                "measured": mine[name],
                "error": _error(value, mine[name]),
                **({"same": _same(value, mine[name])} if name == BINDS else {}),
            }
            for name, value in prediction.get("policies", {}).get(variant, {}).items()
            if name in mine
        }
    return found


def _same(predicted: str | None, measured: str | None) -> bool | None:
    return None if predicted is None or measured is None else predicted == measured


def _error(predicted: Any, measured: Any) -> float | None:
    numbers = [x for x in (predicted, measured) if isinstance(x, int | float)]
    if len(numbers) < 2 or not predicted:
        return None
    return float(measured) / float(predicted) - 1
