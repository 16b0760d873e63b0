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
lanes fare without fair queues is in `lanes`.
"""

from __future__ import annotations

from pathlib import Path

from agents.job_time import DUALPATH, kv_load
from testbed.experiment.asking import Asking
from testbed.experiment.estimates import exactly, ratio, together
from testbed.experiment.study import Answer, Expected, Minutes, Row, Study
from testbed.results.charts import Chart, Series

AVAILABLE = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
DEFAULT = "reno"
EXPECTED = {"bbr": Expected(0.9, 1.02)}
USUAL = Expected(0.98, 1.02)
AT_TAIL = Expected(0.7, 1.5)


def answer(ask: Asking) -> Answer:
    """The default, then one change at a time."""
    others = [name for name in AVAILABLE.read_text().split() if name != DEFAULT]
    changes: dict[str, dict[str, object]] = {
        f"fair, {DEFAULT}": {},
        f"fifo, {DEFAULT}": {"arbitration": "fifo"},
        **{f"fair, {name}": {"network.congestion_control": name} for name in others},
    }
    loads, tails = {}, {}
    for name, changed in changes.items():
        runs = ask.runs("1p2d", {
            "topology.set": {"gpus": 4, "s": 0.5},
            "duration": ask.pick("10s", "30s", "60s"),
            "window": {"warm_up": ask.pick("3s", "5s", "5s"), "warm_up_turns": 2, "tolerance": 0.1},
            "policies": [DUALPATH],
            **changed,
        })  # fmt: skip
        loads[name] = together([kv_load(run, DUALPATH) for run in runs])
        tails[name] = together([
            exactly(run.policies[DUALPATH]["summary"]["ttft_s"]["p99"]) for run in runs
        ])  # fmt: skip
    base, *rest = changes
    rows = []
    for name in rest:
        expected = EXPECTED.get(name.rpartition(" ")[2], USUAL)
        rows += [
            Row(f"{name}: KV load / default's", ratio(loads[name], loads[base]), expected,
                unit="×"),
            Row(f"{name}: TTFT p99 / default's", ratio(tails[name], tails[base]), AT_TAIL,
                unit="×"),
        ]  # fmt: skip
    chart = Chart("sensitivity", "What the emulation's own choices change", "", "/ default", [
        Series("KV load", rest, [ratio(loads[name], loads[base]) for name in rest]),
        Series("TTFT p99", rest, [ratio(tails[name], tails[base]) for name in rest]),
    ])  # fmt: skip
    return Answer(rows, [chart], [f"This kernel allows {', '.join([DEFAULT, *others])}."])


STUDY = Study(
    "Which results depend on arbitration and on TCP's congestion control?",
    "the project's own",
    Minutes(1.0, 8, 15),
    answer,
)
