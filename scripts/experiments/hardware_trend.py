"""What happens as GPUs grow faster than NICs.

From Ampere to Blackwell, FLOPS grew 28.8 times and NICs 2.0 times, so the I/O that a unit of
computation can have fell by 14.4 (DualPath, section 3).  Its argument: storage bandwidth becomes
what binds, and bandwidth that lies idle in decode nodes becomes worth more.

`2p4d-small` with NICs of twice, once and half their rate beside the same GPUs.  PE-only carries
min(compute, PE SNICs), DualPath min(compute, all SNICs), so the gain grows from 1 towards (P + D)/P
= 3 as NICs fall behind.  What compute carries is what `oracle` reaches, which moves no KV. Expect
what these caps give, within 15 %.  (The formula's compute cap would promise more: it does not know
that engines of a node wait for each other.)
"""

from __future__ import annotations

import math

from agents.job_time import DUALPATH, SMALL, steady_turns_per_s
from testbed.experiment.asking import Asking
from testbed.experiment.estimates import exactly, ratio, together
from testbed.experiment.study import Answer, Minutes, Row, Shares, Study, about
from testbed.results.charts import Chart, Series
from testbed.results.intervals import Interval

FLOPS, NIC = 28.8, 2.0  # Ampere to Blackwell
POLICIES = ["pe-only", DUALPATH]


def answer(ask: Asking) -> Answer:
    """The same GPUs beside faster and slower NICs; 1 is the run of fig7_offline."""
    rows = [Row("I/O for each unit of computation, Ampere over Blackwell", exactly(FLOPS / NIC),
                about(14.4, 0.01), 14.4, "×")]  # fmt: skip
    measured: list[Interval | None] = []
    foreseen: list[Interval | None] = []
    base = together([steady_turns_per_s(run, "oracle") for run in ask.runs(SMALL)])
    compute = math.inf if base is None else base.value
    nics = ask.pick([1.0, 0.5], [2.0, 1.0, 0.5], [2.0, 1.41, 1.0, 0.71, 0.5, 0.35])
    for nic in nics:
        changed = {"hardware.nic": nic, "policies": POLICIES, "duration": "20s"}
        changes: dict[str, object] = {} if nic == 1 else changed
        runs = ask.runs(SMALL, changes)
        rates = [[steady_turns_per_s(run, policy) for policy in POLICIES] for run in runs]
        gain = together([ratio(dual, one_sided) for one_sided, dual in rates])
        caps = runs[0].run["comparison"]["caps_turns_per_s"]
        expected = min(compute, caps["all-snics"]) / min(compute, caps["pe-snics"])
        measured.append(gain)
        foreseen.append(exactly(expected))
        rows.append(Row(f"NICs x{nic:g}: DualPath over PE-only", gain, about(expected, 0.15),
                        unit="×", note=f"by the caps: {expected:.2f}"))  # fmt: skip
    per_flop = [1 / nic for nic in nics]
    chart = Chart("hardware_trend", "As GPUs grow faster than NICs", "compute / NIC, relative",
                  "DualPath over PE-only, turns/s", [
        Series("measured", per_flop, measured), Series("by the caps", per_flop, foreseen),
    ], kind="lines")  # fmt: skip
    return Answer(rows, [chart])


STUDY = Study(
    "Does the gain grow as GPUs outpace NICs?",
    "DualPath, section 3",
    Minutes(1.3, 20, 32),
    answer,
    shares=Shares(quick="fig7_offline"),
)
