"""Twice the cluster and twice the agents take the same time.

Reproduces DualPath, Table 3, small: the paper has 2P4D with 2 000 agents at 3 167 s and 48P96D with
48 000 agents at 3 201 s (probably its 48K trace), 1.1 % apart.  Here 1P2D and 2P4D, under the
paper's scheduler and the network alone, both with so many agents that reads always wait; jobs are
JCT-equivalents of as many agents for each node.

Expect the two within 5 %: nothing is shared between nodes but the fabrics, which do not block, the
storage, which serves every NIC at its line rate, and the one scheduler.  That one scheduler is what
could bend the curve on 144 nodes; two of six nodes cannot show it (`python -m
scripts.bench.scheduler` measures its decisions per second instead).  The paper's online figures
(0.4 and 8.8 agents per second) are not repeated: 48P96D is out of this machine's reach.
"""

from __future__ import annotations

from agents.job_time import DUALPATH, jct_equivalent_s, read_turns_per_s
from testbed.experiment.asking import Asking
from testbed.experiment.estimates import ratio, together
from testbed.experiment.study import Answer, Minutes, Row, Study, about
from testbed.results.charts import Chart, Series
from testbed.results.intervals import Interval

AGENTS = {"1p2d": 1000, "2p4d": 2000}
TRACE = "48k"
TOLERANCE = 0.05
PAPER = 3201 / 3167


def answer(ask: Asking) -> Answer:
    """Both clusters, DualPath only."""
    times: dict[str, Interval | None] = {}
    for shape, agents in AGENTS.items():
        runs = ask.runs(shape, {
            "topology.set": {"gpus": 4, "s": 0.5},
            "scale": {"rate": 4000, "bytes": 856},  # Layer Blocks of 96 bytes
            "duration": ask.pick("10s", "60s", "150s"),
            "window": {"warm_up": ask.pick("3s", "5s", "5s"), "warm_up_turns": 2, "tolerance": 0.1},
            "workload.trace": TRACE,
            "prefill.layers_per_transfer": 8,
            "policies": [DUALPATH],
        })  # fmt: skip
        times[shape] = together([
            jct_equivalent_s(read_turns_per_s(run, DUALPATH), run, agents, TRACE) for run in runs
        ])  # fmt: skip
    small, large = times.values()
    rows = [
        Row("JCT-equivalent, 2P4D over 1P2D", ratio(large, small), about(1.0, TOLERANCE), PAPER,
            "×", "the paper's is 48P96D over 2P4D"),
        *(Row(f"{shape.upper()}, {AGENTS[shape]} agents", found, unit="s",
              note="the network alone, half-size nodes: not the paper's seconds")
          for shape, found in times.items()),
    ]  # fmt: skip
    chart = Chart("table3_weak_scaling", "Weak scaling", "cluster", "JCT-equivalent (s)", [
        Series("DualPath", [f"{shape.upper()}, {n} agents" for shape, n in AGENTS.items()],
               list(times.values()))])  # fmt: skip
    return Answer(rows, [chart])


STUDY = Study(
    "Does the job time stay when cluster and agents double?",
    "DualPath, Table 3",
    Minutes(0.7, 8, 18),
    answer,
)
