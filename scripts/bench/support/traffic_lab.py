"""Nodes that do nothing but collectives and KV (`traffic_node`), on a cluster of their own."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import msgspec

from agents import cluster as cluster_file
from agents.accounts import carried_bytes
from agents.records import AccountRecord, CollectiveRecord, EventRecord, read_records
from agents.settings import DualPathScenario
from agents.workload import DualPath
from scripts.bench.support.traffic_node import Load
from testbed.experiment.scenario import load_scenario
from testbed.kernel.samples import MeterSample
from testbed.lab import Lab, Process
from testbed.plan.model import Plan
from testbed.sandbox.program import Program

_ROOT = str(Path(__file__).resolve().parents[3])
# What decides the links and their queues; what requests would do is of no matter here.
_SCENARIO = """
name: traffic
topology: {name: dualpath, set: {prefill: 2, decode: 1, gpus: 1}}
scale: {rate: 4000, bytes: 1000}
duration: 10s
engines: network-only
workload: {trace: 32k, agents: 1}
policies: [pe-only]
"""
_MEASURED_AFTER_S = 0.3  # collectives have begun: what their first seconds see is what all see


class Seen(NamedTuple):
    """What a case came to.

    Args:
        collectives: that began after the settling time.
        before, after: the kernel's counters around the measured seconds.
        ended: the counters when nothing moved any more.
        accounts: of all queue pairs.
    """

    collectives: list[CollectiveRecord]
    before: list[MeterSample]
    after: list[MeterSample]
    ended: list[MeterSample]
    accounts: list[AccountRecord]

    def share(self, nic: str, direction: str, lane: str) -> float:
        """Of the line that a lane took in the measured seconds."""
        first, last = (
            next(m for m in sample if (m.nic, m.direction) == (nic, direction))
            for sample in (self.before, self.after)
        )
        if lane not in last.lanes:
            return 0.0
        grown = last.lanes[lane].bytes - first.lanes[lane].bytes
        return grown * 8 / (last.t_s - first.t_s) / last.rate_bps

    def account(self, lane: str) -> dict[tuple[str, str], float]:
        """(nic, direction) -> payload bytes of a lane, by the programs' own account."""
        return carried_bytes(self.accounts, lane)


def _cluster(workload: DualPath, scenario: DualPathScenario, plan: Plan, place: Path) -> Path:
    """The file of a cluster that has prefill and decode nodes only."""
    workload.programs(scenario, plan, scenario.policies[0], place)
    file = place / "cluster.json"
    whole = cluster_file.read(file)
    control = {name: whole.control[name] for name in (*whole.prefill, *whole.decode)}
    cluster_file.write(msgspec.structs.replace(whole, control=control, storage=[]), file)
    return file


def run(settings: Mapping[str, str], load: Load) -> Seen:
    """One load on a fresh cluster of two prefill nodes and a decode node, 100 Mbit a CNIC.

    Args:
        settings: of the scenario, e.g. {"traffic.mode": "no-lanes"}.
        load: of the nodes.

    Raises:
        RuntimeError: a node failed, or a byte was wrong.
    """
    workload = DualPath()
    scenario = load_scenario(_SCENARIO, DualPathScenario, overrides=settings)
    topo, plan_settings = workload.topology(scenario), workload.plan_settings(scenario)
    with tempfile.TemporaryDirectory() as directory, Lab(topo, settings=plan_settings) as lab:
        file = _cluster(workload, scenario, lab.plan, Path(directory))
        cluster = cluster_file.read(file)
        (Path(directory) / "load.json").write_bytes(msgspec.json.encode(load))
        with ExitStack() as stack:
            started = {name: _start(lab, name, file) for name in cluster.control}
            for process in started.values():
                stack.callback(process.close)
            for name, process in started.items():
                _expect(name, process, "ready")
            for process in started.values():
                _tell(process, b"start\n")
            time.sleep(load.settle_s + _MEASURED_AFTER_S)  # the load settles
            before = lab.counters()
            time.sleep(load.seconds - _MEASURED_AFTER_S)  # the window itself
            after = lab.counters()
            for name in cluster.prefill:
                for _ in range(cluster.rails):
                    _expect(name, started[name], "computed")
            for name, process in started.items():
                _tell(process, b"stop\n")
                _expect(name, process, "stopped")
        ended = lab.counters()
        return _seen(Path(directory), before, after, ended)


def _start(lab: Lab, name: str, file: Path) -> Process:
    return lab.start(
        Program(
            ("--name", name, "--cluster", str(file)), name,
            module="scripts.bench.support.traffic_node", fork=False,
            environment={"PYTHONPATH": _ROOT, "OPENBLAS_NUM_THREADS": "1"}, broker=True,
        )
    )  # fmt: skip


def _tell(process: Process, line: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(line)
    process.stdin.flush()


def _expect(name: str, process: Process, event: str) -> None:
    assert process.stdout is not None and process.stderr is not None
    line = process.stdout.readline()
    if not line or json.loads(line).get("event") != event:
        raise RuntimeError(f"{name} said {line!r} instead of {event}: {process.stderr.read()!r}")


def _seen(
    directory: Path,
    before: list[MeterSample],
    after: list[MeterSample],
    ended: list[MeterSample],
) -> Seen:
    records = [r for file in directory.glob("*.records") for r in read_records(file)]
    wrong = [r for r in records if isinstance(r, EventRecord)]
    if wrong:
        raise RuntimeError(f"{len(wrong)} events, the first: {wrong[0]}")
    return Seen(
        [r for r in records if isinstance(r, CollectiveRecord)],
        before, after, ended,
        [r for r in records if isinstance(r, AccountRecord)],
    )  # fmt: skip
