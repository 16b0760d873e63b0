"""Bulk flows against the messages of a collective, on one compute NIC; no agents at all.

What virtual lanes are for (DualPath, section 5), with nothing of this project's serving code in it:
two engines exchange messages round by round, as a step of a collective does, while four bulk flows
of a neighbour on the same CNIC fill the same line.  A small message (4 KiB) is what waits longest
in a queue; a large one (96 KiB, a fused all-to-all) also shares the line.

    pe0g0 ── cnic ══ compute fabric ══ cnic ── de0g0      messages, and bulk, the same way

Expect a round trip in its own lane to take what it takes on an idle line and at most two packets of
bulk more (one each way that has just been begun: 0.72 ms at 100 Mbit/s).  In one lane it waits for
what bulk has queued: the receivers' buffers, some ten milliseconds, many times the idle time.
Expect the line in use to 95 % with bulk, in a lane or not: lanes cost no throughput.

`testbed.fidelity` watches as in any run: a drop or an unclassified packet fails the study.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from scripts.bench.support.loads import Port, Sender, loaded
from testbed.experiment.asking import Asking
from testbed.experiment.estimates import exactly, ratio, scaled
from testbed.experiment.study import Answer, Expected, Minutes, Row, Study
from testbed.lab import Lab
from testbed.plan.lanes import KV_TOS, MODEL_TOS
from testbed.results.charts import Chart, Series
from testbed.results.intervals import Interval, batch_medians
from topologies.dualpath import DualPathTopo

LINE_MBIT, FLOWS, SETTLE_S = 100.0, 4, 1.5
PACKET_S = 9000 * 8 / (LINE_MBIT * 1e6)
SIZES = {"4 KiB": 4096, "96 KiB": 98304}
CASES = {"idle": (MODEL_TOS, False), "own lane": (MODEL_TOS, True), "one lane": (KV_TOS, True)}
IN_USE = 0.95
ROOT = str(Path(__file__).resolve().parents[2])


def answer(ask: Asking) -> Answer:
    """Every case with both sizes, in one cluster."""
    seconds = ask.pick(3.0, 20.0, 60.0)
    took: dict[str, list[Interval]] = {case: [] for case in CASES}
    used: dict[str, list[float]] = {case: [] for case in CASES}
    with Lab(DualPathTopo(gpus=1, cnic_mbit=LINE_MBIT)) as lab:
        for label, size_bytes in SIZES.items():
            for case, (tos, bulk) in CASES.items():
                with ask.watched(lab, f"{case}, {label}"):
                    times, share = exchange(lab, tos, size_bytes, seconds, bulk=bulk)
                took[case].append(batch_medians(times))
                used[case].append(share)
    rows = []
    for number, label in enumerate(SIZES):
        idle = took["idle"][number]
        slowest = 1 + 2 * PACKET_S / idle.value
        rows += [
            Row(f"{label}: own lane / idle", ratio(took["own lane"][number], idle),
                Expected(0.9, slowest), unit="×", note="at most two bulk packets more"),
            Row(f"{label}: one lane / idle", ratio(took["one lane"][number], idle),
                Expected(3.0, None), unit="×"),
        ]  # fmt: skip
    rows += [
        Row(f"{label}, {case}: line in use", exactly(used[case][number]), Expected(IN_USE, 1.01))
        for number, label in enumerate(SIZES) for case in ("own lane", "one lane")
    ]  # fmt: skip
    chart = Chart("noisy_neighbour", "Round trips beside four bulk flows", "message",
                  "round trip, median (ms)", [
        Series(case, list(SIZES), [scaled(each, 1e3) for each in found])
        for case, found in took.items()
    ], log=True)  # fmt: skip
    return Answer(rows, [chart])


def exchange(
    lab: Lab, tos: int, size_bytes: int, seconds: float, *, bulk: bool
) -> tuple[Sequence[float], float]:
    """Round trips for a while, and the share of the line that was in use."""
    with ExitStack() as stack:
        if bulk:  # four flows in the kv lane, the way the messages go
            senders = [Sender(Port("pe0g0", "cnic0"), FLOWS, KV_TOS)]
            target = Port("de0g0", "cnic0")
            stack.enter_context(loaded(lab, senders, target, settle_s=0.0, seconds=3600.0))
            lab["pe0g0"].run(["sleep", str(SETTLE_S)])  # until its buffers are full
        module = [sys.executable, "-m", "scripts.bench.support.ping_pong"]
        near, far = (lab[name].addresses["cnic0"] for name in ("pe0g0", "de0g0"))
        same = ["--tos", str(tos), "--bytes", str(size_bytes)]
        server = lab["de0g0"].popen([*module, "server", "--bind", far, *same], cwd=ROOT)
        stack.callback(server.close)
        assert server.stdout is not None
        server.stdout.readline()  # it listens
        first = _sent(lab)
        asked = ["client", "--to", far, "--bind", near, "--seconds", str(seconds), *same]
        told = lab["pe0g0"].run([*module, *asked], cwd=ROOT, timeout=seconds + 60, check=True)
        last = _sent(lab)
    line = (last[1] - first[1]) * 8 / (last[0] - first[0]) / (LINE_MBIT * 1e6)
    return [float(each) for each in json.loads(told.stdout)], line


def _sent(lab: Lab) -> tuple[float, int]:
    (found,) = (m for m in lab.counters() if (m.nic, m.direction) == ("pe0/cnic0", "read"))
    return found.t_s, found.bytes


STUDY = Study("What is a lane worth beside a neighbour's bulk flows, without any agents?",
              "DualPath, section 5", Minutes(0.7, 2.5, 7), answer)  # fmt: skip
