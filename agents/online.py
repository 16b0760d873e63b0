"""Figures of agents that arrive: over APS, what a first token waits for, and what a cluster serves.

Sessions without pauses that arrive at a rate λ, 157 turns each, are turns at λ·157 per second, and
the number of agents in flight settles where the cluster plays turns at that rate.  So a closed loop
of n agents, which settles in seconds, is the open system at λ = turns per second / turns of a
session. What such a run gives is an *APS-equivalent*.  Real arrivals take the time of many sessions
to settle.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agents.job_time import (
    DS_27B,
    SHRUNK,
    SMALL,
    TURNS,
    real_turns_per_s,
    steady_turns_per_s,
    window,
)
from testbed.experiment.asking import Asking
from testbed.experiment.estimates import exactly, mean_of, scaled, together
from testbed.experiment.study import Size
from testbed.results.intervals import Interval
from testbed.results.load import RunData

POLICIES = ("basic", "shorter-queue")
# What a request waits for until its first token: from one moment to the next.
PARTS = {
    "schedule": ("t_submit", "t_scheduled"),
    "allocate": ("t_scheduled", "t_read_start"),
    "read": ("t_read_start", "t_read_end"),
    "prefill": ("t_read_end", "t_first_token"),
}
Columns = dict[str, NDArray[np.float64]]
# Agents per second at the paper's size.  Basic can serve 0.21 of DS-660B (0.46 of DS-27B) and
# DualPath 0.38 (0.92).  The last load is so far beyond that that those in flight at the beginning
# wait for too long already: a backlog grows little in a run of minutes.
RATES: dict[str, dict[Size, list[float]]] = {
    "ds-660b": {
        "medium": [0.1, 0.2, 0.35, 0.9],
        "full": [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.9],
    },
    "ds-27b": {
        "medium": [0.2, 0.4, 0.8, 3.4],
        "full": [0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.8, 0.9, 3.4],
    },
}


class Point(NamedTuple):
    """One load under one policy, in the real cluster's units at the paper's size.

    Args:
        aps: agents per second that are served; an equivalent, if agents were in a closed loop.
        ttft_s, ttst_s, tpot_s: means, with intervals.
        jct_s: a session of mean turns.
        parts_s: what the first token waited for, means; empty where there was none.
    """

    aps: Interval | None
    ttft_s: Interval | None
    ttst_s: Interval | None
    tpot_s: Interval | None
    jct_s: Interval | None
    parts_s: dict[str, float]


def points(ask: Asking, model: str = "ds-660b") -> dict[str, list[Point]]:
    """Policy -> loads, rising: closed loops in the quick size, real arrivals in the others."""
    found: dict[str, list[Point]] = {policy: [] for policy in POLICIES}
    for load in loads(ask, model):
        runs = ask.runs(SMALL, load if model == "ds-660b" else {**DS_27B, **load})
        for policy in POLICIES:
            found[policy].append(_point(runs, policy))
    return found


def sustained(ask: Asking) -> dict[str, list[Point]]:
    """Those of `points` that DualPath can serve; a closed loop of any size is one of them."""
    found = points(ask)
    return found if ask.size == "quick" else {policy: each[:-1] for policy, each in found.items()}


def loads(ask: Asking, model: str = "ds-660b") -> Sequence[dict[str, object]]:
    """What the scenario of each load has of its own, rising."""
    if ask.size == "quick":
        # The largest is that of fig7_offline.
        few: list[dict[str, object]] = [
            {
                "workload.agents": agents,
                "duration": "16s",
                "window.tolerance": 0.5,  # a few long turns decide what a third of it carries
                "policies": list(POLICIES),
            }
            for agents in (32, 80)
        ]
        return [*few, {}]
    return [
        {
            "workload.enter": "trajectory",
            "workload.agents": "auto",
            "workload.arrivals": {"rate": f"{rate / SHRUNK}/s"},
            "duration": ask.pick("", "5min", "20min"),
            "window.tolerance": 0.99,  # an overloaded cluster has no steady state
            "policies": list(POLICIES),
        }
        for rate in RATES[model][ask.size]
    ]


def _point(runs: Sequence[RunData], policy: str) -> Point:
    each = [_of_run(run, policy) for run in runs]
    return Point(
        together([one.aps for one in each]),
        together([one.ttft_s for one in each]),
        together([one.ttst_s for one in each]),
        together([one.tpot_s for one in each]),
        together([one.jct_s for one in each]),
        _mean_parts([one.parts_s for one in each if one.parts_s]),
    )


def _mean_parts(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([one[name] for one in runs])) for name in PARTS} if runs else {}


def _of_run(run: RunData, policy: str) -> Point:
    stretch = run.run["comparison"]["scale"]["stretch"]
    turns = real_turns_per_s(steady_turns_per_s(run, policy), run)
    first = _columns(run, policy, "t_first_token")
    second = _columns(run, policy, "t_second_token")
    decoded = _columns(run, policy, "t_decode_end")
    done = _columns(run, policy, "t_done")
    many = decoded["generate_tokens"] > 1
    steps = np.maximum(decoded["generate_tokens"] - 1, 1)
    tpot = ((decoded["t_decode_end"] - decoded["t_decode_start"]) / steps)[many]
    trace = run.run["scenario"]["workload"]["trace"]

    def real(values: NDArray[np.float64]) -> Interval | None:
        return scaled(mean_of(values), 1 / stretch)

    return Point(
        scaled(turns, SHRUNK / TURNS[trace]),
        real(first["t_first_token"] - first["t_submit"]),
        real(second["t_second_token"] - second["t_submit"]),
        real(tpot),
        scaled(real(done["t_done"] - done["t_submit"]), TURNS[trace]),
        {
            name: float(np.mean(first[until] - first[since])) / stretch
            for name, (since, until) in PARTS.items()
            if len(first[since])
        },
    )


def _columns(run: RunData, policy: str, when: str) -> Columns:
    """Requests that reached a moment in the window, in that order, as columns of times."""
    span, requests = window(run, policy), run.requests
    if span is None:
        chosen = requests.head(0)
    else:
        chosen = requests.filter(
            (requests["policy"] == policy)
            & (requests["error"] == "")
            & requests[when].is_between(*span)
        ).sort(when)
    names = [name for name in chosen.columns if name.startswith("t_")] + ["generate_tokens"]
    found = {name: chosen[name].to_numpy().astype(float) for name in names}
    # A turn without hits reads nothing: its read takes no time, at once.
    for name in ("t_read_start", "t_read_end"):
        found[name] = np.where(found[name] > 0, found[name], found["t_allocated"])
    return found


def served(found: Sequence[Point], ttft_s: float, tpot_s: float) -> Interval | None:
    """The most APS within an SLO, linear between loads; None if the lowest load misses it.

    Its interval is between what there would be if all loads served as little and as late as their
    own intervals allow, and as much and as soon.

    Args:
        found: loads, rising.
        ttft_s, tpot_s: the SLO, means.
    """
    known = [
        (p.aps, scaled(p.ttft_s, 1 / ttft_s), scaled(p.tpot_s, 1 / tpot_s))
        for p in found
        if p.aps is not None and p.ttft_s is not None and p.tpot_s is not None
    ]
    value = _most([(aps.value, max(a.value, b.value)) for aps, a, b in known if a and b])
    if value is None:
        return None
    each = [part for point in known for part in point if part is not None and part.width]
    if not each:
        return exactly(value)
    least = _most([(_end(aps, -1), max(_end(a, 1), _end(b, 1))) for aps, a, b in known if a and b])
    most = _most([(_end(aps, 1), max(_end(a, -1), _end(b, -1))) for aps, a, b in known if a and b])
    sure = min(part.confidence for part in each if part.confidence is not None)
    count = min(part.count for part in each)
    return Interval(
        value,
        None if least is None else min(least, value),
        None if most is None else max(most, value),
        sure,
        count,
    )


def _most(loads: Sequence[tuple[float, float]]) -> float | None:
    """Of loads with their share of the SLO."""
    if not loads or loads[0][1] > 1:
        return None
    for (aps, used), (next_aps, next_used) in pairwise(loads):
        if next_used > 1:
            return aps + (next_aps - aps) * (1 - used) / (next_used - used)
    return loads[-1][0]


def _end(found: Interval, side: int) -> float:
    end = found.low if side < 0 else found.high
    return found.value if end is None else end
