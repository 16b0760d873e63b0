"""Where a KV cache in decode nodes pays: hit rate and gain over cache size / working set.

A third way beside both storage paths: KV that a decode node still has in DRAM is taken from there,
on its own node or over the compute fabric, with no storage NIC.  1P2D runs once to measure the
working set (bytes of different blocks that requests looked for or wrote); then the shorter queue
and `adaptive`, which chooses among the three by a cost model, with caches of a share of it.

Agents come back for the KV that they have just left, so even a small cache holds what is asked for
next: expect the hit rate to rise with the size, and to be all but what each agent reads for the
first time when everything fits (0.7 or more in a short window). Expect no loss with a cache that is
too small, for `adaptive` then does what the shorter queue does. With everything cached, storage
NICs are out of the way and compute NICs bind: expect a gain in turns of more than 1.2.

The larger sizes ask the same of agents that pause for 10 s before each turn.  As many more of them
keep the NICs as busy; more KV is then left by somebody before its agent comes back, so the same
share of a larger working set is needed: expect no higher hit rate at any share.
"""

from __future__ import annotations

import math

from agents.job_time import DUALPATH, turns_per_s
from testbed.experiment.asking import Asking
from testbed.experiment.estimates import exactly, ratio, together
from testbed.experiment.study import Answer, Expected, Minutes, Row, Study
from testbed.results.charts import Chart, Series
from testbed.results.intervals import Interval
from testbed.results.load import RunData

Measured = tuple[Interval | None, Interval | None]  # hit rate, gain in turns
NODES = 2  # that have a cache
EXPECTED = {  # cache / working set -> hit rate, gain in turns
    0.05: (Expected(0.0, 0.5), Expected(0.95, None)),
    1.0: (Expected(0.7, 1.0), Expected(1.2, None)),
}
THINK = ["0s", "10s"]
MORE = [0.1, 0.25, 0.5, 2.0]  # in the larger sizes


def answer(ask: Asking) -> Answer:
    """The working set, then each size of cache; without pauses, and with."""
    shares = sorted([*EXPECTED, *ask.pick([], MORE, MORE)])
    found = {think: _sizes(ask, think, shares) for think in ask.pick(["0s"], THINK, THINK)}
    rows = []
    for think, measured in found.items():
        for share, (hit, gain) in measured.items():
            expected_hits, expected_gain = EXPECTED.get(share, (None, None))
            what = f"cache {share:g} of the working set, think time {think}"
            rows += [
                Row(f"{what}: hit rate", hit, expected_hits),
                Row(f"{what}: gain in turns", gain, expected_gain, unit="×"),
            ]
    charts = [
        Chart(
            name, title, "cache / working set", axis,
            [Series(f"think time {think}", shares, [one[which] for one in measured.values()])
             for think, measured in found.items()],
            kind="lines",
        )
        for which, (name, title, axis) in enumerate((
            ("three_way_hits", "KV that came from a decode node's cache", "hit rate"),
            ("three_way_gain", "What it gains", "turns/s over shorter queue"),
        ))
    ]  # fmt: skip
    return Answer(rows, charts)


def _sizes(ask: Asking, think: str, shares: list[float]) -> dict[float, Measured]:
    """Cache / working set -> hit rate, and gain in turns over the shorter queue."""
    common: dict[str, object] = {
        "topology.set": {"gpus": 4, "s": 0.5},
        "duration": ask.pick("10s", "40s", "90s"),
        "window": {"warm_up": "4s", "warm_up_turns": 2, "tolerance": 0.3},
        "workload.agents": ask.pick(24, 40, 60),
    }
    if think != "0s":  # agents that keep as much waiting, and a window of several pauses
        common |= {
            "workload.think_time": think,
            "workload.agents": "auto",
            "duration": ask.pick("60s", "60s", "120s"),
        }
    probed = ask.run("1p2d", {**common, "policies": [DUALPATH]})
    working_set = probed.policies[DUALPATH]["summary"]["storage"]["working_set_bytes"]
    per_real = probed.run["comparison"]["scale"]["bytes_realised"]
    found = {}
    for share in shares:
        capacity = math.ceil(share * working_set * per_real / NODES)
        runs = ask.runs("1p2d", {
            **common, "policies": [DUALPATH, "adaptive"], "cache.capacity": f"{capacity}B",
        })  # fmt: skip
        gains = [ratio(turns_per_s(run, "adaptive"), turns_per_s(run, DUALPATH)) for run in runs]
        found[share] = together([hit_rate(run) for run in runs]), together(gains)
    return found


def hit_rate(run: RunData) -> Interval | None:
    """Share of hit KV in the window that came from the own node's cache or another's."""
    cache = run.policies["adaptive"]["summary"]["cache"]
    shares = cache["own_share"], cache["other_share"]
    return None if None in shares else exactly(sum(shares))  # nothing was hit in a window


STUDY = Study(
    "From what size on does a KV cache in decode nodes pay?",
    "the project's own; DualPath reads all hits from storage",
    Minutes(1.7, 100, 190),
    answer,
)
