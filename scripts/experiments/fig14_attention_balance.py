"""How evenly attention is spread over the engines of a node: the scheduler against round robin.

Reproduces DualPath, figure 14: attention time of a node's slowest engine over the mean of its
engines, Max/Avg, as low as 1.06 with the scheduler.  Engines of a node wait for each other in every
layer, so what is above 1 is lost.

The scheduler gives a request to the engine with the fewest tokens and cuts batches at 300 ms of
attention.  The paper has full batches all the time (about ten requests each); here an iteration has
a few, of contexts between 1K and 64K, and an engine without work counts as zero.  Expect 1.0 to
1.35 with the scheduler, and no less with round robin, which looks at nothing.  With more agents
waiting the scheduler's figure falls towards the paper's.

quick: nodes of 2 engines; medium, full: of 4.
"""

from __future__ import annotations

from collections import defaultdict

from agents.job_time import DUALPATH, SMALL, window
from testbed.experiment.asking import Asking
from testbed.experiment.estimates import exactly, mean_of, ratio, together
from testbed.experiment.study import Answer, Expected, Minutes, Row, Shares, Study
from testbed.results.charts import Chart, Series
from testbed.results.load import RunData

PLACEMENTS: dict[str, dict[str, object]] = {
    "scheduler": {},
    "round robin": {"scheduler.placement": "round-robin"},
}
SHOWN = 100  # iterations


def answer(ask: Asking) -> Answer:
    """Both placements; quick: the scheduler's is the run of fig7_offline."""
    rows, series, means = [], [], {}
    for name, changes in PLACEMENTS.items():
        own: dict[str, object] = {"policies": [DUALPATH], "duration": ask.pick("20s", "40s", "90s")}
        if ask.size != "quick":  # 8 engines, as in the paper, are more than two cores carry
            own |= {"topology.set": {"gpus": 4, "s": 0.5}, "workload.agents": 320}
        runs = ask.runs(SMALL, {**changes, **own} if changes or ask.size != "quick" else {})
        found = [max_avg(run) for run in runs]
        means[name] = together([mean_of(values) for _, values in found])
        times, values = found[0]
        series.append(Series(name, times[:SHOWN], [exactly(value) for value in values[:SHOWN]]))
    rows = [
        Row("scheduler: attention Max/Avg", means["scheduler"], Expected(1.0, 1.35), 1.06,
            note="the paper's lowest; full batches"),
        Row("round robin: attention Max/Avg", means["round robin"], Expected(1.0, 2.0)),
        Row("round robin over scheduler", ratio(means["round robin"], means["scheduler"]),
            Expected(1.0, None), unit="×"),
    ]  # fmt: skip
    chart = Chart("fig14_attention_balance", "Attention of a node's engines", "time (s, real)",
                  "attention time Max/Avg", series, kind="lines")  # fmt: skip
    return Answer(rows, [chart])


def max_avg(run: RunData) -> tuple[list[float], list[float]]:
    """Of each iteration in the window in which an engine of the node attended, in order of time.

    Returns:
        When it ended, in real seconds since the window opened; and slowest engine over mean.
    """
    span, table = window(run, DUALPATH), run.table("iterations")
    if span is None:
        return [], []
    ranks = run.run["scenario"]["topology"]["set"]["gpus"]
    stretch = run.run["comparison"]["scale"]["stretch"]
    node_s: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
    chosen = table.filter((table["policy"] == DUALPATH) & table["t_end"].is_between(*span))
    columns = chosen.select("engine", "iteration", "t_end", "attention_s")
    for engine, number, ended_s, attention_s in columns.rows():
        node_s[engine.rpartition("g")[0], number].append((ended_s, attention_s))
    found = []
    for each in node_s.values():
        ended_s, attention_s = map(max, zip(*each, strict=True))
        if attention_s > 0:
            mean_s = sum(attention for _, attention in each) / ranks
            found.append(((ended_s - span[0]) / stretch, attention_s / mean_s))
    found.sort()
    return [at_s for at_s, _ in found], [value for _, value in found]


STUDY = Study(
    "How evenly do a node's engines share attention?",
    "DualPath, figure 14",
    Minutes(0.8, 6, 11),
    answer,
    shares=Shares(quick="fig7_offline"),
)
