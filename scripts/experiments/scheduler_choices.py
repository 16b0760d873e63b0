"""The effect of each choice that the paper's scheduler leaves open, and of placement itself.

DualPath, section 6, does not say how often engines fetch, whether read queues count what no report
shows yet, when they fall, whether free HBM is net of reservations, how ties end.  Each is a
parameter (docs/scheduler.md).  Here one is changed at a time from the defaults, on a small 2P4D
with the shorter read queue: without compute under a load that leaves the storage NICs some air, so
that balance matters, and (full) under one that does not; with modelled engines whose decode HBM
binds (hbm).

Expect little: where requests wait anyway only a fetch period of a second costs load.  With air in
the loop, waiting for the next fetch is time in which an agent asks for nothing, so a period as long
as a read costs load in proportion, and Max/Avg grows with what reports do not show.  Where
decode HBM binds, reserving it when a request is assigned (net) costs load; placing at once spares a
request the wait in the scheduler, but not the one for HBM.
"""

from __future__ import annotations

from typing import NamedTuple

from agents.job_time import DUALPATH, kv_load
from testbed.experiment.asking import Asking
from testbed.experiment.estimates import exactly, ratio, scaled, together
from testbed.experiment.study import Answer, Expected, Minutes, Row, Study
from testbed.results.charts import Chart, Series
from testbed.results.intervals import Interval

# Layer Blocks of 24 bytes exactly; SNICs of 12.5 Mbit: cheap, so that a busy machine does not show.
NETWORK: dict[str, object] = {
    "topology.set": {"gpus": 4, "s": 0.5}, "scale": {"rate": 16000, "bytes": 3424},
    "window": {"warm_up": "3s", "tolerance": 0.3}, "policies": [DUALPATH],
    "prefill.layers_per_transfer": "auto",
}  # fmt: skip
LOADS: dict[str, dict[str, object]] = {
    "air": {**NETWORK, "workload.agents": 16},
    "full": {**NETWORK, "workload.agents": 60},
    # A decode engine holds three or four prompts.
    "hbm": {**NETWORK, "topology.set": {"gpus": 2, "s": 0.5}, "engines": "modelled",
            "scale": {"rate": 4000, "bytes": 3424}, "buffers": {"hbm": "10GiB"},
            "window": {"warm_up": "3s", "warm_up_turns": 1.5, "tolerance": 0.3},
            "workload": {"kind": "agentic", "trace": "32k", "agents": 80}},
}  # fmt: skip
SAME, ANY = Expected(0.95, 1.05), Expected(0.5, 1.1)


class Choice(NamedTuple):
    """A row: a load, what is changed of `scheduler`, and the KV load over that of the defaults."""

    load: str
    key: str = ""
    value: str = ""
    expected: Expected = SAME

    @property
    def name(self) -> str:
        """In the table."""
        return f"{self.load}: {self.key} {self.value}" if self.key else f"{self.load}: defaults"


FEW = [Choice("air"), Choice("air", "fetch_period", "200ms", Expected(0.65, 0.9)),
       Choice("air", "placement", "round-robin", Expected(0.97, 1.1))]  # fmt: skip
ALL = [
    *FEW,
    Choice("air", "fetch_period", "5ms", Expected(0.97, 1.1)),
    Choice("air", "fetch_period", "50ms", Expected(0.9, 1.02)),
    Choice("air", "fetch_period", "1s", Expected(0.2, 0.4)),
    Choice("air", "unreported", "ignored"),
    Choice("air", "read_queue_falls", "bytes"),
    Choice("air", "ties", "first"),
    Choice("air", "prefill_scope", "group", Expected(0.85, 1.02)),
    Choice("air", "placement", "least-tokens"),
    Choice("full"),
    Choice("full", "fetch_period", "1s", Expected(0.9, 1.02)),
    Choice("full", "placement", "least-tokens"),
    Choice("full", "placement", "round-robin"),
    Choice("hbm"),
    Choice("hbm", "free_hbm", "net", ANY),
    Choice("hbm", "placement", "least-tokens", Expected(0.98, 1.25)),
]


def answer(ask: Asking) -> Answer:
    """Each choice against the defaults of its load."""
    rows, loads = [], {}
    base: dict[str, Interval | None] = {}
    for choice in ask.pick(FEW, ALL, ALL):
        changed = {f"scheduler.{choice.key}": choice.value} if choice.key else {}
        duration = ask.pick("10s", "15s", "60s") if choice.load != "hbm" else "30s"
        runs = ask.runs("2p4d", {**LOADS[choice.load], "duration": duration, **changed})
        load = together([kv_load(run, DUALPATH) for run in runs])
        evenness = [run.policies[DUALPATH]["summary"]["snic_max_avg"] for run in runs]
        even = together([None if value is None else exactly(value) for value in evenness])
        loads[choice.name] = scaled(load, 1e-6)
        if not choice.key:
            base[choice.load] = load
        else:
            rows.append(Row(f"{choice.name}: KV load / defaults'", ratio(load, base[choice.load]),
                            choice.expected, unit="×"))  # fmt: skip
        rows.append(Row(f"{choice.name}: SNIC Max/Avg", even))
    chart = Chart("scheduler_choices", "KV load by choice", "", "Mbit/s",
                  [Series("2P4D", list(loads), list(loads.values()))])  # fmt: skip
    return Answer(rows, [chart])


STUDY = Study("What do the choices that the paper leaves open change?", "DualPath, section 6",
              Minutes(1.0, 35, 90), answer)  # fmt: skip
