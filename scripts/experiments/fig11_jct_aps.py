"""Mean job time of one agent over the rate at which agents arrive.

Reproduces DualPath, figure 11: like TTFT in figure 10, a job's time stays until the cluster is full
and climbs then; with DualPath it climbs later.  The paper's values are in its plot only.

A job is 157 turns one after another; at low load most of each turn is decoding (105 tokens at 20 to
40 ms), which is the same for both.  Expect equal job times within 10 % at the lowest load, and at
the highest, where agents outnumber what Basic can serve, a Basic job that takes 1.3 to 2 times as
long.

The runs are those of fig10_online, without the load that DualPath cannot serve either; in the quick
size a job's time is 157 mean turns of a closed loop.
"""

from __future__ import annotations

from agents.online import POLICIES, sustained
from testbed.experiment.asking import Asking
from testbed.experiment.estimates import ratio
from testbed.experiment.study import Answer, Expected, Minutes, Row, Study, about, always
from testbed.results.charts import Chart, Series

NAMES = dict(zip(POLICIES, ("Basic", "DualPath"), strict=True))


def answer(ask: Asking) -> Answer:
    """Both policies under the loads of figure 10."""
    found = sustained(ask)
    basic, dual = (found[policy] for policy in POLICIES)
    what = ask.pick("157 mean turns", "157 mean turns, arrivals", "157 mean turns, arrivals")
    rows = [
        Row("lowest load: Basic over DualPath", ratio(basic[0].jct_s, dual[0].jct_s),
            about(1.0, 0.1), "about 1", "×"),
        Row("highest load: Basic over DualPath", ratio(basic[-1].jct_s, dual[-1].jct_s),
            Expected(1.3, 2.0), "above 1", "×"),
        *(Row(f"{NAMES[policy]}: highest over lowest load",
              ratio(found[policy][-1].jct_s, found[policy][0].jct_s), Expected(1.0, None), unit="×")
          for policy in POLICIES),
    ]  # fmt: skip
    series = [
        Series(NAMES[policy], [p.aps.value for p in found[policy] if p.aps is not None],
               [p.jct_s for p in found[policy] if p.aps is not None]) for policy in POLICIES
    ]  # fmt: skip
    x = ask.pick("APS-equivalent", "APS", "APS")
    chart = Chart("fig11_jct_aps", f"Mean job time ({what})", x, "s", series, kind="lines")
    return Answer(rows, [chart])


STUDY = Study(
    "How does a job's time grow with the rate of arrivals?",
    "DualPath, figure 11",
    Minutes(0, 0, 0),
    answer,
    shares=always("fig10_online"),
)
