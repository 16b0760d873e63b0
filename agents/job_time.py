"""Figures that studies of jobs are made of: KV load, turns, and how long all jobs would take.

A job is one agent's trajectory.  Replaying thousands of whole trajectories takes hours, so what a
short run gives is a *JCT-equivalent*: agents × turns of a trajectory / steady turns per second, the
time in which the cluster would play all of their turns at the rate that was measured.  It is never
called JCT: nobody waited for the last agent.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from agents.traces.agentic import TRACES
from testbed.experiment.estimates import arrival_rate, inverse, rate, scaled
from testbed.results.load import RunData
from testbed.results.statistics import Interval

DUALPATH = "shorter-queue"  # the paper's scheduler and read-path choice
TURNS = {name: trace.turns for name, trace in TRACES.items()}


def window(run: RunData, policy: str) -> tuple[float, float] | None:
    """(open, close) of the steady window; None where it never opened."""
    found = run.policies[policy]["summary"]["window_s"]
    return None if found is None else (found[0], found[1])


def kv_load(run: RunData, policy: str) -> Interval | None:
    """KV that arrived from storage in the window, bit/s, with an interval by batch means."""
    span = window(run, policy)
    if span is None:
        return None
    transfers, requests = run.transfers, run.requests
    mine = (transfers["policy"] == policy) & (transfers["kind"] == "storage_read")
    well = (requests["policy"] == policy) & (requests["error"] == "")
    verified = np.isin(transfers["request"].to_numpy(), requests["request"].filter(well).to_numpy())
    chosen = mine.to_numpy() & verified
    first_s, last_s, sizes = (
        transfers[name].to_numpy()[chosen] for name in ("t_first_byte", "t_last_byte", "size_bytes")
    )
    return scaled(arrival_rate(first_s, last_s, sizes, span), 8)


def turns_per_s(run: RunData, policy: str) -> Interval | None:
    """Turns that ended in the window, per emulated second, with an interval by batch means."""
    span = window(run, policy)
    if span is None:
        return None
    requests = run.requests
    mine = ((requests["policy"] == policy) & (requests["error"] == "")).to_numpy()
    return rate(requests["t_done"].to_numpy()[mine], span)


def read_turns_per_s(run: RunData, policy: str) -> Interval | None:
    """Turns per emulated second by the bytes that they read, where storage binds.

    What the mean turn of the trace reads is known, so a window in which a few long turns happen to
    end does not count as a slow one.
    """
    hit_bytes = run.run["predicted"]["mean_turn"]["hit_bytes"]
    return scaled(kv_load(run, policy), 1 / (8 * hit_bytes))


def jct_equivalent_s(
    turns: Interval | None, run: RunData, agents: int, trace: str
) -> Interval | None:
    """Agents × turns / steady turns per second, in seconds of the real cluster.

    Args:
        turns: per emulated second.
        run: whose scale they are of.
        agents: whose trajectories are to be played.
        trace: of the agents: 32k, 48k or 64k.
    """
    stretch = cast("dict[str, Any]", run.run["comparison"])["scale"]["stretch"]
    return inverse(scaled(turns, stretch), agents * TURNS[trace])
