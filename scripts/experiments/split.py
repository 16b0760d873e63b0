"""When one request that is read on both sides at once is quicker than one that is read on one.

DualPath reads a whole request on one side and names splitting as future work.  The policy `split`
does it, balanced by read queues and by what NICs carried of late; here its TTFT is set against the
shorter read queue's, on 1P1D and the network alone, under three loads: light (two agents, long
contexts) or heavy (requests always wait), with long contexts (the 64K trace) or short ones (the 32K
one at a tenth).

Expect a split to win under light load, where a NIC would else stand idle, and most with long
contexts, where reading is what a request waits for: a read from two NICs takes half as long, and it
is about half of the time to the first token there, so TTFT falls to some 0.6-0.9.  Under heavy load
both keep all NICs busy: expect the same KV load within 3 %, and a TTFT between 0.85 and 1.1.
"""

from __future__ import annotations

from agents.job_time import DUALPATH, kv_load, window
from testbed.experiment.asking import Asking
from testbed.experiment.estimates import median_of, ratio, together
from testbed.experiment.study import Answer, Expected, Minutes, Row, Study, about
from testbed.results.charts import Chart, Series
from testbed.results.intervals import Interval
from testbed.results.load import RunData

POLICIES = [DUALPATH, "split"]
LONG = {"workload.trace": "64k"}
# Reading a short context takes 10 ms at half the rate.
SHORT = {"workload.trace": "32k", "workload.append_scale": 0.1, "workload.generation_scale": 0.1,
         "scale.rate": 4000}  # fmt: skip
LOADS: dict[str, tuple[dict[str, object], Expected]] = {
    "light, long": ({"workload.agents": 2, **LONG}, Expected(0.5, 0.95)),
    "heavy, long": ({"workload.agents": "auto", **LONG}, Expected(0.85, 1.1)),
    "heavy, short": ({"workload.agents": "auto", **SHORT}, Expected(0.85, 1.1)),
}


def answer(ask: Asking) -> Answer:
    """Both policies under each load, with the same sessions."""
    rows, ratios = [], []
    for name, (load, expected) in LOADS.items():
        runs = ask.runs("1p1d", {
            "topology.set": {"gpus": 4, "s": 1},
            "duration": ask.pick("5s", "25s", "60s"),
            # Few agents, or none waiting: how even the load is says nothing here.
            "window": {"warm_up": "2s", "warm_up_turns": 2, "tolerance": 0.5},
            "policies": POLICIES,
            **load,
        })  # fmt: skip
        found = together([ratio(first_token(run, "split"), first_token(run, DUALPATH))
                          for run in runs])  # fmt: skip
        ratios.append(found)
        rows.append(Row(f"{name}: TTFT, split / shorter queue", found, expected, unit="×"))
        if name.startswith("heavy"):
            loads = [ratio(kv_load(run, "split"), kv_load(run, DUALPATH)) for run in runs]
            rows.append(Row(f"{name}: KV load, split / shorter queue", together(loads),
                            about(1.0, 0.03), unit="×"))  # fmt: skip
    chart = Chart("split", "One request on both sides at once", "load",
                  "median TTFT / that of the shorter queue",
                  [Series("split", list(LOADS), ratios)])  # fmt: skip
    return Answer(rows, [chart])


def first_token(run: RunData, policy: str) -> Interval | None:
    """Median TTFT in the window."""
    span, requests = window(run, policy), run.requests
    if span is None:
        return None
    mine = requests.filter(
        (requests["policy"] == policy) & (requests["error"] == "")
        & requests["t_first_token"].is_between(*span)
    ).sort("t_first_token")  # fmt: skip
    return median_of((mine["t_first_token"] - mine["t_submit"]).to_numpy())


STUDY = Study(
    "When does reading one request on both sides at once pay?",
    "DualPath, future work",
    Minutes(1.5, 10, 21),
    answer,
)
