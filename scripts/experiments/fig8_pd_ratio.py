"""Job times over the ratio of prefill to decode nodes, the network alone.

Reproduces DualPath, figure 8 (DS-27B; 512, 1024 and 2048 agents): 1P1D, 2P1D and 1P2D, Basic (reads
on the prefill side) beside DualPath.  It is the paper's best single check: where storage binds, a
job takes as long as its KV takes over the storage NICs *in use*.  Basic uses P of them, DualPath
all P + D, so the six bars are three equal pairs:

    Basic 1P1D = Basic 1P2D  >  DualPath 1P1D = Basic 2P1D  >  DualPath 2P1D = DualPath 1P2D

Expect each pair within 5 %, in this order, and between the pairs factors of 2 and 1.5.  Engines
take no time here: with the paper's compute the factors shrink (its mean is 1.64, its best 2.46),
but the pairs stay, since compute only adds its own floor.  Expect the mean speed-up here to be the
network's, (2 + 1.5 + 3) / 3 = 2.17, above the paper's.

Nodes have 4 engines and SNICs of half a CNIC's rate: 1/7 <= P/D <= 7/2, so no shape is bound by its
compute NICs.  Job times grow in proportion to agents as long as storage is busy, so one run a shape
stands for all three numbers of agents.  They are JCT-equivalents: agents × turns / steady turns per
second, where turns are counted by the bytes that they read.
"""

from __future__ import annotations

from agents.job_time import DUALPATH, jct_equivalent_s, read_turns_per_s
from testbed.experiment.asking import Asking
from testbed.experiment.estimates import exactly, ratio, scaled, together
from testbed.experiment.study import Answer, Minutes, Row, Study, about
from testbed.results.charts import Chart, Series
from testbed.results.intervals import Interval

SHAPES = ("1p1d", "2p1d", "1p2d")
NAMES = {"pe-only": "Basic", DUALPATH: "DualPath"}
TOLERANCE = 0.05
AGENTS = (512, 1024, 2048)
PAIRS = (
    (("pe-only", "1p1d"), ("pe-only", "1p2d")),
    ((DUALPATH, "1p1d"), ("pe-only", "2p1d")),
    ((DUALPATH, "2p1d"), (DUALPATH, "1p2d")),
)
STEPS = ((PAIRS[0][0], PAIRS[1][0], 2.0), (PAIRS[1][0], PAIRS[2][0], 1.5))
PAPER_MEAN, PAPER_MOST = 1.64, 2.46


def answer(ask: Asking) -> Answer:
    """Three shapes, both policies in each."""
    times: dict[tuple[str, str], Interval | None] = {}
    for shape in SHAPES:
        runs = ask.runs(shape, {
            "topology.set": {"gpus": 4, "s": 0.5},
            "model.preset": "ds-27b",
            "scale": {"rate": 4000, "bytes": 938.6666666666666},  # Layer Blocks of 48 bytes
            "duration": ask.pick("8s", "45s", "90s"),
            "window": {"warm_up": ask.pick("3s", "5s", "5s"), "warm_up_turns": 2, "tolerance": 0.1},
            "policies": list(NAMES),
        })  # fmt: skip
        for policy in NAMES:
            found = [jct_equivalent_s(read_turns_per_s(run, policy), run, 1, "64k") for run in runs]
            times[policy, shape] = together(found)
    rows = [
        Row(f"{_named(a)} / {_named(b)}", ratio(times[a], times[b]), about(1.0, TOLERANCE),
            "about 1", "×") for a, b in PAIRS
    ] + [
        Row(f"{_named(a)} / {_named(b)}", ratio(times[a], times[b]), about(factor, TOLERANCE),
            "above 1", "×", "the network alone") for a, b, factor in STEPS
    ]  # fmt: skip
    gains = [ratio(times["pe-only", shape], times[DUALPATH, shape]) for shape in SHAPES]
    known = [gain.value for gain in gains if gain is not None]
    if len(known) == len(SHAPES):
        rows.append(Row("mean speed-up", exactly(sum(known) / 3), about(6.5 / 3, TOLERANCE),
            PAPER_MEAN, "×", "the paper's is with compute, which caps it"))  # fmt: skip
        rows.append(Row("best speed-up (1P2D)", gains[2], about(3.0, TOLERANCE), PAPER_MOST, "×",
            "the same"))  # fmt: skip
    charts = [
        Chart(f"fig8_{agents}", f"{agents} agents", "cluster", "JCT-equivalent (s)", [
            Series(name, [shape.upper() for shape in SHAPES],
                   [scaled(times[policy, shape], agents) for shape in SHAPES])
            for policy, name in NAMES.items()
        ]) for agents in AGENTS
    ]  # fmt: skip
    return Answer(rows, charts, ["Network-only: no time for compute and decoding."])


def _named(bar: tuple[str, str]) -> str:
    policy, shape = bar
    return f"{NAMES[policy]} {shape.upper()}"


STUDY = Study(
    "Does job time follow the number of storage NICs in use?",
    "DualPath, figure 8",
    Minutes(1.9, 20, 45),
    answer,
)
