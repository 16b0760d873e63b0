"""How evenly storage NICs are used: alternating the read path against the shorter read queue.

Reproduces DualPath, figure 13: Max/Avg over the bytes that arrive at all storage NICs, in small
windows, over time.  The paper has 1.53 for round robin and 1.18 for its scheduler.

At 2P4D round robin sends half of the reads to two nodes and half to four, so while storage binds
the prefill nodes' NICs are full and the others are half busy: Max/Avg = (P + D) / (2·min(P, D)) =
1.5. The paper's 1.53 is the P:D asymmetry itself.  Expect 1.5 ± 0.1 here, and at most 1.2 for the
shorter read queue; lower than the paper's 1.18 is likely, for reads here are always waiting, and
nothing else competes for the storage fabric.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agents.job_time import DUALPATH, window
from testbed.experiment.asking import Asking
from testbed.experiment.estimates import exactly, mean_of, together
from testbed.experiment.study import Answer, Expected, Minutes, Row, Study
from testbed.results.charts import Chart, Series
from testbed.results.load import RunData

NAMES = {"round-robin": "round robin", DUALPATH: "scheduler"}
PAPER = {"round-robin": 1.53, DUALPATH: 1.18}
EXPECTED = {"round-robin": Expected(1.4, 1.6), DUALPATH: Expected(None, 1.2)}
STEP_S = 1.0  # of real time


def answer(ask: Asking) -> Answer:
    """One cluster, both policies."""
    runs = ask.runs("2p4d", {
        "topology.set": {"gpus": 4, "s": 0.5},
        "scale": {"rate": 4000, "bytes": 1712},  # Layer Blocks of 48 bytes
        "duration": ask.pick("16s", "60s", "150s"),
        # Alternating, queues of prefill nodes first have to fill.
        "window": {"warm_up": "6s", "warm_up_turns": 3, "tolerance": 0.2},
        "policies": list(NAMES),
        "prefill.layers_per_transfer": 8,
    })  # fmt: skip
    rows, series = [], []
    for policy, name in NAMES.items():
        found = [max_avg(run, policy) for run in runs]
        measured = together([mean_of(values) for values in found])
        rows.append(Row(f"{name}: SNIC Max/Avg", measured, EXPECTED[policy], PAPER[policy]))
        times = [float(step) for step in range(len(found[0]))]
        series.append(Series(name, times, [exactly(value) for value in found[0].tolist()]))
    chart = Chart("fig13_balance", "Load balance of storage NICs", "time (s, real)", "SNIC Max/Avg",
                  series, kind="lines")  # fmt: skip
    return Answer(rows, [chart])


def max_avg(run: RunData, policy: str) -> NDArray[np.float64]:
    """Max/Avg over the storage NICs of prefill and decode nodes, in steps of real seconds."""
    span, nics = window(run, policy), run.nics
    if span is None:
        return np.empty(0)
    chosen = nics.filter(
        (nics["policy"] == policy) & (nics["kind"] == "snic") & (nics["direction"] == "in")
        & (nics["lane"] == "all") & nics["role"].is_in(["prefill", "decode"])
    )  # fmt: skip
    edges = np.arange(*span, STEP_S * run.run["comparison"]["scale"]["stretch"])
    grown = []
    for _, one in chosen.group_by("nic"):
        arrived = np.interp(edges, one["t_s"].to_numpy(), one["bytes"].to_numpy().astype(float))
        grown.append(np.diff(arrived))
    table = np.stack(grown)
    return np.asarray(table.max(axis=0) / table.mean(axis=0))


STUDY = Study(
    "How evenly are storage NICs used?",
    "DualPath, figure 13",
    Minutes(1.1, 9, 18),
    answer,
)
