"""What a first token waits for: scheduling, allocation, reading, prefill, over the load.

Reproduces DualPath, figure 12 left: DualPath's time to the first token hardly changes with the rate
of arrivals, while Basic's queueing explodes: 21, 40 and 73 % of its TTFT at rising APS.

The parts are moments of each request: submitted, scheduled, its read begun (buffers are allocated,
and the reads before it are done), read, first token.  Queueing is all before the read begins.
Expect Basic's share of queueing to rise with the load, and to be above DualPath's at the highest.
In the quick size loads are closed loops, where agents that wait ask for nothing more, so a queue
cannot explode; DualPath's TTFT rises too when compute is full: expect at most 6 times that of the
lowest load.

The runs are those of fig10_online, without the load that DualPath cannot serve either.
"""

from __future__ import annotations

from agents.online import PARTS, POLICIES, Point, sustained
from testbed.experiment.asking import Asking
from testbed.experiment.estimates import exactly, ratio
from testbed.experiment.study import Answer, Expected, Minutes, Row, Study, always
from testbed.results.charts import Chart, Series
from testbed.results.intervals import Interval

NAMES = dict(zip(POLICIES, ("Basic", "DualPath"), strict=True))
QUEUEING = ("schedule", "allocate")
PAPER = [0.21, 0.40, 0.73]


def answer(ask: Asking) -> Answer:
    """Both policies under the loads of figure 10."""
    found = sustained(ask)
    shares = {policy: [_queueing(point) for point in found[policy]] for policy in POLICIES}
    basic, dual = (shares[policy] for policy in POLICIES)
    last = len(basic) - 1
    chosen = [0, last // 2, last]
    rows = [
        Row(f"Basic: queueing share of TTFT, load {at + 1} of {last + 1}", basic[at], None, paper,
            note="the paper's loads are not given")
        for at, paper in zip(chosen, PAPER, strict=True)
    ] + [
        Row("Basic: queueing share rises with the load", _rises(basic[0], basic[-1]), "yes", "yes"),
        Row("highest load: Basic's queueing share over DualPath's", ratio(basic[-1], dual[-1]),
            Expected(1.0, None), unit="×"),
        Row("DualPath: TTFT, highest over lowest load",
            ratio(found[POLICIES[1]][-1].ttft_s, found[POLICIES[1]][0].ttft_s),
            Expected(1.0, 6.0), "about 1", "×"),
    ]  # fmt: skip
    charts = [
        Chart(f"fig12_breakdown_{policy}", f"{NAMES[policy]}: what a first token waits for",
              ask.pick("APS-equivalent", "APS", "APS"), "mean (s)", [
            Series(part, [_aps(point) for point in found[policy]],
                   [_part(point, part) for point in found[policy]]) for part in PARTS
        ], kind="stacked") for policy in POLICIES
    ]  # fmt: skip
    return Answer(rows, charts)


def _part(point: Point, part: str) -> Interval | None:
    return exactly(point.parts_s[part]) if point.parts_s else None


def _queueing(point: Point) -> Interval | None:
    total = sum(point.parts_s.values())
    return exactly(sum(point.parts_s[part] for part in QUEUEING) / total) if total else None


def _aps(point: Point) -> str:
    return "–" if point.aps is None else f"{point.aps.value:.2f}"


def _rises(first: Interval | None, last: Interval | None) -> str | None:
    if first is None or last is None:
        return None
    return "yes" if last.value > first.value else "no"


STUDY = Study(
    "What does a first token wait for as more agents arrive?",
    "DualPath, figure 12 left",
    Minutes(0, 0, 0),
    answer,
    shares=always("fig10_online"),
)
