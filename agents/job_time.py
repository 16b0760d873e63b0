"""Figures that studies of jobs are made of: KV load, turns, and how long all jobs would take.

A job is one agent's trajectory.  Replaying thousands of whole trajectories takes hours, so what a
short run gives is a *JCT-equivalent*: agents × turns of a trajectory / steady turns per second, the
time in which the cluster would play all of their turns at the rate that was measured.  It is never
called JCT: nobody waited for the last agent.
"""

from __future__ import annotations

import numpy as np

from agents.traces.agentic import TRACES
from testbed.experiment.estimates import arrival_rate, exactly, inverse, rate, scaled, surest
from testbed.experiment.study import Size
from testbed.results.intervals import Interval
from testbed.results.load import RunData

DUALPATH = "shorter-queue"  # the paper's scheduler and read-path choice
TURNS = {name: trace.turns for name, trace in TRACES.items()}
SMALL = "2p4d-small"  # the scenario of studies of jobs
SHRUNK = 4  # its nodes are so many times smaller than the paper's
# What differs for DS-27B, which the paper runs on 1P1D.  Layer Blocks have 12 bytes (of fewer,
# control messages would be much of all that is sent), and time half as much again: its decode steps
# are short.
DS_27B: dict[str, object] = {
    "topology": {"name": "1p1d", "set": {"gpus": 2, "s": 0.25}},
    "model.preset": "ds-27b",
    "compute.prefill_tflops": "null",
    "scale": {"rate": 2714.03, "bytes": 3754.6666666666665},
}
EVERY: dict[Size, int] = {"medium": 8, "full": 1}  # so many-th turns are played
LONGEST: dict[Size, str] = {"medium": "30min", "full": "2h"}  # all ends before: emulated time
PLAYED: dict[Size, int] = {"medium": 1024 // SHRUNK, "full": 2048 // SHRUNK}  # agents


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
    """Turns per emulated second by the bytes that they read from storage.

    What the mean turn of the trace reads is known, so a window in which a few long turns happen to
    end does not count as a slow one.
    """
    hit_bytes = run.run["predicted"]["mean_turn"]["hit_bytes"]
    return scaled(kv_load(run, policy), 1 / (8 * hit_bytes))


def computed_turns_per_s(run: RunData, policy: str) -> Interval | None:
    """Turns per emulated second by the tokens that were prefilled.

    How many tokens the mean turn appends is known, and a window in which a few sessions more begin,
    whose first turns are long, does not count as a slow one.
    """
    span, requests = window(run, policy), run.requests
    if span is None:
        return None
    well = requests.filter((requests["policy"] == policy) & (requests["error"] == ""))
    began_s, ended_s = (
        well[name].to_numpy().astype(float) for name in ("t_prefill_start", "t_first_token")
    )
    tokens = (well["prompt_tokens"] - well["hit_tokens"]).to_numpy()
    found = arrival_rate(began_s, ended_s, tokens, span)
    return scaled(found, 1 / run.run["predicted"]["mean_turn"]["miss_tokens"])


def steady_turns_per_s(run: RunData, policy: str) -> Interval | None:
    """Turns per emulated second: by their ends, or by the work of them if that is told better.

    In a steady state all three are the same rate.  But turns need very different amounts of what
    binds, far more different than how much of it there is for each second; so of the three that one
    counts whose interval is the narrowest, with a confidence of 90 % for having been chosen.
    """
    found = [turns_per_s(run, policy), computed_turns_per_s(run, policy)]
    if not _from_caches(run, policy):
        found.append(read_turns_per_s(run, policy))
    return surest(found)


def _from_caches(run: RunData, policy: str) -> bool:
    """Whether hit KV came from anywhere but storage."""
    mine = run.transfers["kind"].filter(run.transfers["policy"] == policy)
    return bool(mine.is_in(["peer_copy", "peer_read"]).any())


def real_turns_per_s(turns: Interval | None, run: RunData) -> Interval | None:
    """Turns per second of the real cluster."""
    return scaled(turns, _stretch(run))


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
    return inverse(real_turns_per_s(turns, run), agents * TURNS[trace])


def whole_jobs(size: Size) -> dict[str, object]:
    """What a scenario needs so that each agent plays one trajectory; nothing in the quick size.

    Args:
        size: medium plays every 8th turn, full all of them.
    """
    if size == "quick":
        return {}
    return {
        "duration": LONGEST[size],
        "window": {"warm_up": "1s", "warm_up_turns": 0, "tolerance": 0.99},
        "workload.agents": PLAYED[size],
        "workload.enter": "trajectory",
        "workload.start": "cold",
        "workload.sessions": "one",
        "workload.every": EVERY[size],
    }


def job_time_s(run: RunData, policy: str, size: Size, agents: int, trace: str) -> Interval | None:
    """How long it takes until all agents have played their trajectories, real seconds.

    quick: JCT-equivalent, by the turns of a steady window.  medium, full: from the first agent's
    start to the last one's end, times k where every k-th turn is played.

    Args:
        run: of a scenario with the changes of `whole_jobs`.
        policy: of it.
        size: of the study.
        agents: that the figure is of.  Where the run had fewer, jobs of more are in proportion.
        trace: of the agents.

    Returns:
        None where the run did not come to the end of all trajectories.
    """
    if size == "quick":
        return jct_equivalent_s(steady_turns_per_s(run, policy), run, agents, trace)
    sessions = run.table("sessions")
    mine = sessions.filter(sessions["policy"] == policy)
    played = run.run["scenario"]["workload"]["agents"]
    if len(mine) != played:
        return None
    first_s, last_s = np.min(mine["t_start"].to_numpy()), np.max(mine["t_end"].to_numpy())
    took_s = float(last_s - first_s) / _stretch(run)
    return exactly(took_s * EVERY[size] * agents / played)


def storage_caps(run: RunData) -> dict[str, float]:
    """Caps of storage NICs by the formulae, in turns per second of the real cluster.

    Args:
        run: whose mean turn they are for.

    Returns:
        "pe-snics" and "all-snics", at the paper's size.
    """
    caps = run.run["comparison"]["caps_turns_per_s"]
    return {name: caps[name] * _stretch(run) * SHRUNK for name in ("pe-snics", "all-snics")}


def _stretch(run: RunData) -> float:
    return float(run.run["comparison"]["scale"]["stretch"])
