"""What a networking researcher asks of the steady window.

Use and backlog of NICs, round trips under load, slowdown of transfers, how evenly agents were
served, and how sure the rates are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.distribution import distribution
from agents.fairness import agents_served, jain
from agents.records import RequestRecord, RoundTripRecord
from agents.transfer_figures import TransferRow, parse_port
from testbed.kernel.samples import MeterSample
from testbed.results.intervals import BATCHES, batch_means, batches, lag1

Window = tuple[float, float]


def nic_use(samples: Sequence[Sequence[MeterSample]], window: Window) -> list[dict[str, Any]]:
    """A row for each kind of NIC, role and direction: how full its lines were, and its queues.

    Args:
        samples: the kernel's counters.
        window: (open, close).

    Returns:
        utilisation of the mean and of the fullest NIC; share of each lane in the line's time;
        backlog_s, what waited in the mean, as time of the line.
    """
    classes: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for index, meter in enumerate(samples[0]):
        column = [row[index] for row in samples]
        use = _use_of(column, window)
        classes.setdefault((meter.kind, meter.role, meter.direction), []).append(use)
    return [
        {
            "kind": kind,
            "role": role,
            "direction": direction,
            "nics": len(each),
            "utilisation": float(np.mean([use["all"] for use in each])),
            "utilisation_fullest": float(max(use["all"] for use in each)),
            "lanes": {
                lane: float(np.mean([use["lanes"][lane] for use in each]))
                for lane in each[0]["lanes"]
            },
            "backlog_s": float(np.mean([use["backlog_s"] for use in each])),
        }
        for (kind, role, direction), each in classes.items()
    ]


def _use_of(column: Sequence[MeterSample], window: Window) -> dict[str, Any]:
    """One direction of one NIC."""
    times = [sample.t_s for sample in column]
    line = column[0].rate_bps * (window[1] - window[0]) / 8

    def grown(values: Sequence[int]) -> float:
        return float(np.diff(np.interp(window, times, values))[0]) / line

    inside = [s.backlog_bytes for s in column if window[0] <= s.t_s <= window[1]]
    return {
        "all": grown([sample.bytes for sample in column]),
        "lanes": {
            lane: grown([s.lanes[lane].bytes for s in column]) for lane in column[0].lanes
        },
        "backlog_s": float(np.mean(inside)) * 8 / column[0].rate_bps if inside else 0.0,
    }  # fmt: skip


def round_trips(records: Sequence[RoundTripRecord], window: Window) -> dict[str, Any]:
    """Under load, by the kind of NIC and the lane; and the shortest that was seen there."""
    found: dict[str, list[RoundTripRecord]] = {}
    for record in records:
        if window[0] <= record.t_s < window[1]:
            device, lane = parse_port(record.port)
            found.setdefault(f"{device.rstrip('0123456789')} {lane}", []).append(record)
    return {
        name: {
            **distribution([record.smoothed_s for record in each]),
            "least": min(record.least_s for record in each),
        }
        for name, each in sorted(found.items())
    }


def slowdowns(rows: Sequence[TransferRow], window: Window) -> dict[str, Any]:
    """Of transfers that ended in the window, by kind: times slower than alone on the line."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row.slowdown is not None and window[0] <= row.t_last_byte < window[1]:
            found.setdefault(row.kind, []).append(row.slowdown)
    return {kind: distribution(values) for kind, values in sorted(found.items())}


def fairness(requests: Sequence[RequestRecord], window: Window) -> float | None:
    """Jain's index over the prompt tokens that agents were served."""
    return jain(agents_served(requests, window).values())


def intervals(
    bytes_between: Callable[[float, float], float], ends_s: NDArray[np.float64], window: Window
) -> dict[str, Any]:
    """95 % intervals of the KV load and of turns per second, by batch means.

    Args:
        bytes_between: bytes that arrived from storage between two moments.
        ends_s: when turns ended.
        window: (open, close).
    """
    edges = np.linspace(*window, BATCHES + 1)
    step_s = (window[1] - window[0]) / BATCHES
    series = {
        "kv_load": np.array([bytes_between(a, b) * 8 / step_s for a, b in pairwise(edges)]),
        "turns": np.histogram(ends_s, edges)[0] / step_s,
    }
    load, turns = (batch_means(values) for values in series.values())
    return {
        "interval_kv_load_bps": [load.low, load.high],
        "interval_turns_per_s": [turns.low, turns.high],
        "batch_correlation": {name: lag1(batches(values)) for name, values in series.items()},
    }
