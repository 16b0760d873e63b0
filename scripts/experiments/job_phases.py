"""What the beginning and the end of whole jobs cost a policy that storage binds.

DualPath over Basic + layerwise is 1.54 by caps (60 and 39 turns/s), and 1.6 in a steady state here,
but whole trajectories that begin together give 1.7 (fig7_offline, fig12_ablation, medium).  This
explains it by a queueing model of the same trajectories, without a run: a turn is read by the first
storage NIC that is free, computed by the first engine that is, and decoded after a delay.  The
model knows nothing of layers, HBM, batches or the scheduler.

At first all contexts are short: openings are computed, and hardly anything is read.  At the end a
few agents are left, those of the longest trajectories, whose turns append little and read as much
as ever.  In between contexts are longer than in the mean.  So PE-only is bound by compute first, by
storage then, and by its agents last; its NICs are idle for a part of the job.  DualPath is bound by
compute nearly all the time, and loses less.  Expect PE-only to take 1.05 to 1.2 times as long as
its NICs need for all that they read, and DualPath's gain to be above what caps alone give.

The paper's PE-only (8 323 s by its ablation) has NICs that are hardly ever idle, at 78 324 bytes a
token, which were derived from just that.  And the speed of engines is fitted in a steady state to
the paper's whole jobs, so DualPath's whole jobs are somewhat quicker here.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agents.compute import prefill_flops
from agents.job_time import SHRUNK
from agents.models import PRESETS
from agents.traces.agentic import agentic_trace
from testbed.experiment.asking import Asking
from testbed.experiment.estimates import exactly
from testbed.experiment.study import Answer, Expected, Minutes, Row, Study
from testbed.results.charts import Chart, Series

MODEL = PRESETS["ds-660b"]
AGENTS = 2048
SNIC_BYTES_PER_S = 50e9 / SHRUNK
# Engines of 2p4d-small, at its fitted rate, with which they play 60 turns/s instead of 75.
ENGINES, FLOPS_PER_S = 4, 192e12 * 0.8
TOKEN_S = 0.03
SNICS = {"PE-only": 2, "DualPath": 6, "Oracle": 0}
PAPER = {"PE-only": 10052 * (1 - 0.172), "DualPath": 5365.0}
STEPS = 40  # of the chart


class Work(NamedTuple):
    """One turn: bytes that it reads, FLOPs of its prefill, seconds of its decoding."""

    hit_bytes: float
    flops: float
    decode_s: float


def answer(ask: Asking) -> Answer:
    """All policies play the same trajectories; everything is at the size of the small 2P4D."""
    jobs = [_job(number) for number in range(AGENTS // SHRUNK)]
    ends = {policy: played(jobs, snics) for policy, snics in SNICS.items()}
    took = {policy: float(times.max()) for policy, times in ends.items()}
    reading_s = sum(turn.hit_bytes for job in jobs for turn in job) / SNIC_BYTES_PER_S / 2
    computing_s = sum(turn.flops for job in jobs for turn in job) / FLOPS_PER_S / ENGINES
    by_caps = reading_s / max(reading_s / 3, computing_s)
    rows = [
        *(Row(f"{policy}, {AGENTS} agents", exactly(took[policy]), None, PAPER.get(policy), "s")
          for policy in SNICS),
        Row("PE SNICs: time for all that is read", exactly(reading_s), unit="s"),
        Row("PE-only over that", exactly(took["PE-only"] / reading_s), Expected(1.05, 1.2),
            unit="×"),
        Row("DualPath over PE-only, by the caps of these jobs", exactly(by_caps), unit="×"),
        Row("DualPath over PE-only", exactly(took["PE-only"] / took["DualPath"]),
            Expected(by_caps, None), 1.54, "×", "the paper's: from caps of 60 and 39 turns/s"),
    ]  # fmt: skip
    charts = Chart("job_phases", f"Turns of {AGENTS} agents that begin together", "time (s)",
                   "turns/s", [_series(policy, each) for policy, each in ends.items()],
                   kind="lines")  # fmt: skip
    return Answer(rows, [charts], ["Calculated: a queueing model, no run."])


def _job(number: int) -> list[Work]:
    found, work = 0, []
    for turn in agentic_trace("64k", 1).session(number).turns:
        flops = prefill_flops(MODEL, found, turn.prompt_tokens - found)
        work.append(Work(found * MODEL.kv_bytes_per_token, flops, turn.generate_tokens * TOKEN_S))
        found = turn.context_tokens // 64 * 64
    return work


def played(jobs: list[list[Work]], snics: int) -> NDArray[np.float64]:
    """When turns end, in order; every agent begins at 0."""
    nics, engines = [0.0] * snics, [0.0] * ENGINES
    waiting = [(0.0, agent, 0, False) for agent in range(len(jobs))]  # a heap by time
    ends = []
    while waiting:
        now_s, agent, turn, read = heapq.heappop(waiting)
        work = jobs[agent][turn]
        if nics and not read:
            read_s = max(now_s, heapq.heappop(nics)) + work.hit_bytes / SNIC_BYTES_PER_S
            heapq.heappush(nics, read_s)
            heapq.heappush(waiting, (read_s, agent, turn, True))
            continue
        computed_s = max(now_s, heapq.heappop(engines)) + work.flops / FLOPS_PER_S
        heapq.heappush(engines, computed_s)
        ends.append(computed_s + work.decode_s)
        if turn + 1 < len(jobs[agent]):
            heapq.heappush(waiting, (ends[-1], agent, turn + 1, False))
    return np.sort(ends)


def _series(policy: str, ends: NDArray[np.float64]) -> Series:
    edges = np.linspace(0, ends[-1], STEPS + 1)
    rates = np.histogram(ends, edges)[0] / np.diff(edges) * SHRUNK
    return Series(policy, edges[1:].tolist(), [exactly(rate) for rate in rates.tolist()])


STUDY = Study("Why do whole jobs gain more from the second path than a steady state?",
              "to DualPath, figure 12 right", Minutes(0.2, 0.2, 0.2), answer)  # fmt: skip
