"""KV load inside and outside the window of P/D ratios, against the best any split could reach.

Implied by DualPath, section 4.2, and not plotted there: all storage NICs can be busy where s/(g-s)
<= P/D <= min{(g-2s)/s, (g-s)/(2s)}; elsewhere a compute NIC is full before they are.  Four shapes
with s = 1: 1P2D and 1P1D of 4 engines lie inside (1/3 .. 1.5), 3P1D of 4 engines and 1P1D of 2
(whose window is empty) outside.

The best split is a linear program over the load table, with the run's own share of misses.  Expect
storage to bind the shorter queue inside, and not outside.  Expect the load within 5 % of the best
inside.  Outside, the shorter *storage* queue does not know that CNICs bind, so a gap of some 10 to
30 % remains: that is what the window means for a policy that was made for its inside. No load may
be above the best: that would be a defect.
"""

from __future__ import annotations

from typing import NamedTuple

from agents.caps import balanced_window
from agents.job_time import DUALPATH, kv_load
from testbed.experiment.asking import Asking
from testbed.experiment.estimates import exactly, scaled, together
from testbed.experiment.study import Answer, Expected, Minutes, Row, Study
from testbed.results.charts import Chart, Series


class Shape(NamedTuple):
    """P prefill and D decode nodes of g engines; SNICs as fast as CNICs."""

    prefill: int
    decode: int
    gpus: int

    @property
    def inside(self) -> bool:
        """All storage NICs can be busy."""
        window = balanced_window(self.gpus, 1.0)
        return window is not None and window[0] <= self.prefill / self.decode <= window[1]


SHAPES = {
    "1P2D g=4": Shape(1, 2, 4),
    "1P1D g=4": Shape(1, 1, 4),
    "3P1D g=4": Shape(3, 1, 4),
    "1P1D g=2": Shape(1, 1, 2),
}
INSIDE, OUTSIDE = Expected(0.95, 1.01), Expected(0.6, 1.01)


def answer(ask: Asking) -> Answer:
    """All shapes under the shorter read queue."""
    rows = []
    loads, bests = [], []
    for name, shape in SHAPES.items():
        runs = ask.runs("cnic-bound", {
            "topology": {"name": "dualpath", "set": {**shape._asdict(), "s": 1}},
            "scale.rate": 4000,
            "duration": ask.pick("8s", "40s", "90s"),
            "window": {"warm_up": "4s", "warm_up_turns": 2, "tolerance": 0.1},
            "policies": [DUALPATH],
        })  # fmt: skip
        summaries = [run.policies[DUALPATH]["summary"] for run in runs]
        best_bps = [each["best_split_bps"] for each in summaries]
        shares = [
            None if best is None else scaled(kv_load(run, DUALPATH), 1 / best)
            for run, best in zip(runs, best_bps, strict=True)
        ]
        where = "inside" if shape.inside else "outside"
        rows += [
            Row(f"{name} ({where}): load / best split", together(shares),
                INSIDE if shape.inside else OUTSIDE, unit="×"),
            Row(f"{name} ({where}): storage binds", _word(summaries[0]["bound_by"] == "storage"),
                _word(shape.inside), _word(shape.inside)),
        ]  # fmt: skip
        loads.append(scaled(together([kv_load(run, DUALPATH) for run in runs]), 1e-6))
        bests.append(None if best_bps[0] is None else exactly(best_bps[0] / 1e6))
    chart = Chart("pd_window", "KV load over the P/D window", "cluster", "Mbit/s", [
        Series("shorter read queue", list(SHAPES), loads),
        Series("best split (linear program)", list(SHAPES), bests)])  # fmt: skip
    return Answer(rows, [chart])


def _word(true: bool) -> str:
    return "yes" if true else "no"


STUDY = Study(
    "What does the window of P/D ratios separate?",
    "DualPath, section 4.2",
    Minutes(1.4, 13, 25),
    answer,
)
