"""Which results depend on how senders share a queue, and on TCP's congestion control.

No paper has this; it says how far the emulation's own choices decide.  A lossless fabric has no
congestion control that drops, and its switches arbitrate in ways nobody publishes.  Here TCP
without loss stands in for the one, a queue for each sender (`arbitration: fair`) for the other.
1P2D runs with the shorter read queue, on the network alone, and one of the two is changed at a
time: one queue for all senders of a lane (`fifo`), and every congestion control that this kernel
has.

Nothing is ever dropped and socket buffers bound what is under way, so windows only grow to the
buffers: expect the KV load within 2 % of the default's whatever TCP runs, with the exception of
bbr, which paces by its own estimate of the line and may lose up to 10 %.  Expect the load within 2
% with `fifo`, too, for storage binds; what it changes is who waits, and so the p99 of TTFT.  How
evenly NICs are used and agents served should depend on neither (5 %): the scheduler sees to that.
How lanes fare without fair queues is in `lanes`.

A result depends on a choice where its row is outside; such a figure needs the choice named with it.
"""

from __future__ import annotations

from pathlib import Path

from agents.job_time import DUALPATH, kv_load
from testbed.experiment.asking import Asking
from testbed.experiment.estimates import exactly, ratio, together
from testbed.experiment.study import Answer, Expected, Minutes, Row, Study, always
from testbed.results.charts import Chart, Series
from testbed.results.intervals import Interval

ALLOWED, AVAILABLE = (
    Path(f"/proc/sys/net/ipv4/tcp_{which}_congestion_control") for which in ("allowed", "available")
)
DEFAULT = "reno"
LOAD, TAIL, EVEN, FAIR = "KV load", "TTFT p99", "SNIC Max/Avg", "Jain's index over agents"
EXPECTED = {LOAD: Expected(0.98, 1.02), TAIL: Expected(0.7, 1.5), EVEN: Expected(0.95, 1.05),
            FAIR: Expected(0.95, 1.05)}  # fmt: skip
PACED = {LOAD: Expected(0.9, 1.02), EVEN: Expected(0.9, 1.1)}  # bbr


def answer(ask: Asking) -> Answer:
    """The default, then one change at a time."""
    allowed = ALLOWED.read_text().split()
    changes: dict[str, dict[str, object]] = {
        f"fair, {DEFAULT}": {"policies": ["pe-only", DUALPATH]},  # the run of nic_loads
        f"fifo, {DEFAULT}": {"arbitration": "fifo"},
        **{f"fair, {name}": {"network.congestion_control": name}
           for name in allowed if name != DEFAULT},
    }  # fmt: skip
    found = {name: _results(ask, changed) for name, changed in changes.items()}
    base, *rest = changes
    rows, series = [], []
    for result in EXPECTED:
        changed = [ratio(found[name][result], found[base][result]) for name in rest]
        series.append(Series(result, rest, changed))
        for name, by in zip(rest, changed, strict=True):
            usual = EXPECTED[result]
            expected = PACED.get(result, usual) if name.endswith(" bbr") else usual
            rows.append(Row(f"{result}: {name} / default's", by, expected, unit="×"))
    chart = Chart("sensitivity", "What the emulation's own choices change", "", "/ default", series)
    missing = sorted(set(AVAILABLE.read_text().split()) - set(allowed))
    notes = [f"This kernel allows {', '.join(allowed)}."]
    if missing:
        notes.append(f"It has {', '.join(missing)}, too, but does not allow clusters to choose it: "
                     "see net.ipv4.tcp_allowed_congestion_control, tcp(7).")  # fmt: skip
    return Answer(rows, [chart], notes)


def _results(ask: Asking, changed: dict[str, object]) -> dict[str, Interval | None]:
    runs = ask.runs("1p2d", {
        "topology.set": {"gpus": 4, "s": 0.5},
        "duration": ask.pick("10s", "45s", "90s"),
        "window": {"warm_up": ask.pick("3s", "5s", "5s"), "warm_up_turns": 2, "tolerance": 0.1},
        "policies": [DUALPATH],
        **changed,
    })  # fmt: skip
    summaries = [run.policies[DUALPATH]["summary"] for run in runs]

    def of(values: list[float | None]) -> Interval | None:
        return together([None if value is None else exactly(value) for value in values])

    return {
        LOAD: together([kv_load(run, DUALPATH) for run in runs]),
        TAIL: of([summary["ttft_s"]["p99"] for summary in summaries]),
        EVEN: of([summary["snic_max_avg"] for summary in summaries]),
        FAIR: of([summary["jain_agents"] for summary in summaries]),
    }


STUDY = Study(
    "Which results depend on arbitration and on TCP's congestion control?",
    "the project's own",
    Minutes(0.7, 6, 12),
    answer,
    shares=always("nic_loads"),
)
