"""Collectives beside KV on the same compute NICs: with lanes, without, and what KV keeps.

Implied by DualPath, section 5, and not plotted there.  Two prefill nodes run all-to-alls in the
model lane (dispatch and combine of 429 tokens to the top 8 of experts, hidden size 7 168, FP8 there
and BF16 back, 8 layers fused) with 50 ms of computing in between, while KV fills every direction of
both CNICs: DRAM to HBM by the loopback, HBM to the decode node, decode node to HBM.

    pe0g0 ──┐             ┌── pe1g0   collectives, model lane
    pe0   ──┤ cnic ══ cnic ├── pe1    KV: loopback, return to de0, fetch from de0
            └──── de0 ────┘

Cases take turns, A B C C B A.  Expect with lanes a median within 10 % of the idle line's and a p99
within 30 %; in one lane three times it or more, and worse in one queue for all senders
(`arbitration: fifo`) than with a queue for each.  arXiv 2603.17456 reports 1.8 without lanes:
expect that at about 40 % of KV in each direction.  Of a line that collectives fill without a gap,
KV keeps its 1 %; what they leave, it takes (95 % and more): the lanes are work-conserving.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec
import numpy as np

from agents.traffic.sizes import Execution
from scripts.bench.support.traffic_lab import Seen, run
from scripts.bench.support.traffic_node import Load
from testbed.experiment.asking import Asking
from testbed.experiment.estimates import exactly, ratio, scaled
from testbed.experiment.study import Answer, Expected, Minutes, Row, Study
from testbed.results.charts import Chart, Series
from testbed.results.intervals import batch_medians

LINE_MBIT, HIDDEN, BYTES_SCALE, TOKENS, LAYERS, GAP_S = 100.0, 7168, 1000, 429, 8, 0.05
EXECUTION = Execution(
    experts=256, top_k=8, dispatch_bytes=HIDDEN / BYTES_SCALE,
    combine_bytes=2 * HIDDEN / BYTES_SCALE, reduce_bytes=0.0, layer_share=1.0,
    copies="expert", ep_domain="role", nvlink=False, fused_layers={"prefill": LAYERS},
)  # fmt: skip
ONE = {"traffic.mode": "no-lanes"}
QUEUE = {**ONE, "arbitration": "fifo"}
PARTLY = "one lane, KV 40 %"
EXPECTED = {  # of the median, and of p99, over those of the idle line
    "lanes": (Expected(0.9, 1.1), Expected(None, 1.3)),
    "one lane": (Expected(3.0, None), None),
    "one lane, one queue": (Expected(3.0, None), None),
    PARTLY: (Expected(1.4, 2.2), None),
}


class Case(NamedTuple):
    """A load, and on what cluster."""

    settings: Mapping[str, str]
    load: Load


def answer(ask: Asking) -> Answer:
    """All cases in turns, and what KV gets at both extremes."""
    quiet = Load(EXECUTION, TOKENS, LAYERS, GAP_S, [], None, 1.5, ask.pick(3.5, 15.0, 40.0))
    full = msgspec.structs.replace(quiet, flows=["loopback", "return", "fetch"])
    partly = msgspec.structs.replace(full, kv_bps=0.4 * LINE_MBIT * 1e6 / 2)
    cases = {"idle": Case({}, quiet), "lanes": Case({}, full), "one lane": Case(ONE, full),
             "one lane, one queue": Case(QUEUE, full), PARTLY: Case(ONE, partly)}  # fmt: skip
    seen: dict[str, list[Seen]] = {name: [] for name in cases}
    for name in [*cases, *reversed(cases)]:
        seen[name].append(run(*cases[name]))
    took = {
        name: np.array([r.t_end - r.t_start for one in found for r in one.collectives])
        for name, found in seen.items()
    }
    middle = {name: batch_medians(times) for name, times in took.items()}
    p99 = {name: float(np.percentile(times, 99)) for name, times in took.items()}
    rows = []
    for name, (expected, tail) in EXPECTED.items():
        paper = 1.8 if name == PARTLY else None
        note = "1.8 is of arXiv 2603.17456" if paper else ""
        rows.append(Row(f"{name} / idle, median", ratio(middle[name], middle["idle"]), expected,
                        paper, "×", note))  # fmt: skip
        rows.append(Row(f"{name} / idle, p99", exactly(p99[name] / p99["idle"]), tail, unit="×"))
    saturated = run({}, msgspec.structs.replace(full, tokens=10 * TOKENS, gap_s=0.0))
    alone = run({}, msgspec.structs.replace(full, tokens=0))
    rows += [
        Row("KV's share of a line full of collectives", exactly(_least_kv(saturated)),
            Expected(0.009, 0.05), 0.01),
        Row("KV's share of an idle line", exactly(_fullest(alone, "kv")), Expected(0.95, 1.01)),
    ]  # fmt: skip
    for one in ("idle", "lanes"):
        lost = sum(m.drops for each in seen[one] for m in each.ended)
        ask.noted(
            f"{one}: no drop", "PASS" if not lost else "FAIL", [f"{lost} packets"] * (lost > 0)
        )
    shown = [scaled(each, 1e3) for each in middle.values()]
    chart = Chart("lanes", "Completion of an all-to-all beside KV", "", "median (ms)",
                  [Series("dispatch and combine", list(middle), shown)])  # fmt: skip
    return Answer(rows, [chart])


def _sides(seen: Seen, lane: str) -> dict[tuple[str, str], float]:
    nics = [(f"pe{n}/cnic0", side) for n in (0, 1) for side in ("read", "write")]
    return {nic: seen.share(*nic, lane) for nic in nics}


def _fullest(seen: Seen, lane: str) -> float:
    return max(_sides(seen, lane).values())


def _least_kv(seen: Seen) -> float:
    """KV's share of the side that collectives fill most."""
    model = _sides(seen, "model")
    return _sides(seen, "kv")[max(model, key=lambda nic: model[nic])]


STUDY = Study("Do lanes keep collectives fast beside KV, and does KV lose by it?",
              "DualPath, section 5", Minutes(1.6, 5, 11), answer)  # fmt: skip
