"""The load on every class of NIC, by the kernel's counters, against DualPath's table.

The paper derives (section 4.2) what each NIC carries when all storage NICs are busy: a prefill CNIC
reads 2Bs/g, writes (Bs/g)(1 + D/P), and so on.  It measures none of it.  Here 1P2D runs with reads
on the prefill side only, and with the shorter read queue, on the network alone; payload in the
kernel's counters is set against the table, with the terms for miss tokens and write-back that the
paper leaves out, and with the shares of the run itself (a: read on the prefill side; m: missed; w:
generated).

Expect every class within 3 % of the formula.  Classes that carry less than 5 % of the largest are
left out: there, headers of the agents' own protocol show.  If a byte took a way that the paper does
not describe (a PE buffer on the decode path, say), two rows would be off.
"""

from __future__ import annotations

from agents.job_time import DUALPATH
from testbed.experiment.asking import Asking
from testbed.experiment.estimates import exactly, together
from testbed.experiment.study import Answer, Minutes, Row, Study, about
from testbed.results.charts import Chart, Series
from testbed.results.intervals import Interval

TOLERANCE = 0.03
SMALL = 0.05  # of the largest load
POLICIES = ["pe-only", DUALPATH]


def answer(ask: Asking) -> Answer:
    """One cluster, both policies."""
    runs = ask.runs("1p2d", {
        "topology.set": {"gpus": 4, "s": 0.5},
        "duration": ask.pick("10s", "45s", "90s"),
        "window": {"warm_up": ask.pick("3s", "5s", "5s"), "warm_up_turns": 2, "tolerance": 0.1},
        "policies": POLICIES,
    })  # fmt: skip
    rows, charts = [], []
    for policy in POLICIES:
        loads = [run.policies[policy]["summary"]["nic_loads"] or [] for run in runs]
        kept = [load["nic"] for load in loads[0] if _counts(load, loads[0])]
        table = {
            nic: [load for each in loads for load in each if load["nic"] == nic] for nic in kept
        }
        for nic, found in table.items():
            measured = together([exactly(load["ratio"]) for load in found])
            rows.append(Row(f"{policy}: {nic}, measured / formula", measured,
                            about(1.0, TOLERANCE), unit="×"))  # fmt: skip
        charts.append(Chart(f"nic_loads_{policy}", f"{policy}: payload of each class of NIC", "",
            "Mbit/s, all of a class",
            [Series("measured", kept, [_mean(each, "measured_bps") for each in table.values()]),
             Series("formula", kept, [_mean(each, "formula_bps") for each in table.values()])],
        ))  # fmt: skip
    return Answer(rows, charts)


def _counts(load: dict[str, float], loads: list[dict[str, float]]) -> bool:
    return load["formula_bps"] > SMALL * max(each["formula_bps"] for each in loads)


def _mean(loads: list[dict[str, float]], key: str) -> Interval:
    return exactly(sum(load[key] for load in loads) / len(loads) / 1e6)


STUDY = Study(
    "Does every NIC carry what the paper's load table says?",
    "DualPath, section 4.2",
    Minutes(0.7, 6, 15),
    answer,
)
