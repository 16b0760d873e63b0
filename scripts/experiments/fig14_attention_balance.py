"""How evenly attention is spread over the engines of a node: the scheduler against round robin.

Reproduces DualPath, figure 14: attention time of a node's slowest engine over the mean of its
engines, Max/Avg, as low as 1.06 with the scheduler.  Engines of a node wait for each other in every
layer, so what is above 1 is lost.

The scheduler gives a request to the engine with the fewest tokens and cuts batches at 300 ms of
attention.  The paper has full batches all the time (about ten requests each); here an iteration has
a few, of contexts between 1K and 64K, and an engine without work counts as zero.  Expect 1.0 to
1.35 with the scheduler, and no less with round robin, which looks at nothing.  With more agents
waiting the scheduler's figure falls towards the paper's.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from agents.job_time import DUALPATH, SMALL, window
from testbed.experiment.asking import Asking
from testbed.experiment.estimates import exactly, mean_of, ratio, together
from testbed.experiment.study import Answer, Expected, Minutes, Row, Study
from testbed.results.charts import Chart, Series
from testbed.results.load import RunData

PLACEMENTS: dict[str, dict[str, object]] = {
    "scheduler": {},
    "round robin": {
        "scheduler.placement": "round-robin",
        "policies": [DUALPATH],
        "duration": "20s",
    },
}
SHOWN = 100  # iterations


def answer(ask: Asking) -> Answer:
    """The run of fig7_offline, and one with another placement."""
    rows, series, means = [], [], {}
    for name, changes in PLACEMENTS.items():
        larger = {"topology.set": ask.pick({"gpus": 2, "s": 0.25}, {"gpus": 4, "s": 0.5},
                                           {"gpus": 8, "s": 1})}  # fmt: skip
        runs = ask.runs(SMALL, {**changes, **ask.pick({}, larger, larger)})
        found = [max_avg(run) for run in runs]
        means[name] = together([mean_of(values) for values in found])
        shown = found[0][:SHOWN].tolist()
        series.append(
            Series(name, [float(n) for n in range(len(shown))], [exactly(v) for v in shown])
        )
    rows = [
        Row("scheduler: attention Max/Avg", means["scheduler"], Expected(1.0, 1.35), 1.06,
            note="the paper's lowest; full batches"),
        Row("round robin: attention Max/Avg", means["round robin"], Expected(1.0, 2.0)),
        Row("round robin over scheduler", ratio(means["round robin"], means["scheduler"]),
            Expected(1.0, None), unit="×"),
    ]  # fmt: skip
    chart = Chart("fig14_attention_balance", "Attention of a node's engines", "iteration",
                  "attention time Max/Avg", series, kind="lines")  # fmt: skip
    return Answer(rows, [chart])


def max_avg(run: RunData) -> NDArray[np.float64]:
    """Of each iteration in the window in which an engine of the node attended."""
    span, table = window(run, DUALPATH), run.table("iterations")
    if span is None:
        return np.empty(0)
    ranks = run.run["scenario"]["topology"]["set"]["gpus"]
    together_s: dict[tuple[str, int], list[float]] = defaultdict(list)
    chosen = table.filter((table["policy"] == DUALPATH) & table["t_end"].is_between(*span))
    for engine, number, attention_s in chosen.select("engine", "iteration", "attention_s").rows():
        together_s[engine.rpartition("g")[0], number].append(attention_s)
    return np.array([
        max(times) / (sum(times) / ranks) for times in together_s.values() if max(times) > 0
    ])  # fmt: skip


STUDY = Study(
    "How evenly do a node's engines share attention?",
    "DualPath, figure 14",
    Minutes(0.8, 14, 30),
    answer,
)
