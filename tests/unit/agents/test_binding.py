"""What bound a run, in the words of its prediction."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agents.binding import binds, bound_by
from agents.caps import TurnBytes, shape_of
from agents.prediction import TurnTimes, predict
from agents.recorded import Run
from agents.records import IterationRecord, RequestRecord, TransferRecord
from agents.settings import DualPathScenario
from testbed.experiment.scenario import load_scenario
from testbed.kernel.samples import LaneSample, MeterSample
from testbed.plan.compile import compile_plan
from testbed.plan.model import Plan
from topologies.dualpath import DualPathTopo

LENGTH_S = 10.0
COUNT = 100
SCENARIO = """
name: bound
topology: {name: 1p1d, set: {gpus: 4}}
scale: {rate: 4000, bytes: 4000}
duration: 10s
engines: network-only
workload: {kind: agentic, trace: 32k, WORKLOAD}
policies: [pe-only, de-only, shorter-queue]
"""


def scenario(workload: str = "agents: 1") -> DualPathScenario:
    return load_scenario(SCENARIO.replace("WORKLOAD", workload), DualPathScenario)


@pytest.fixture(scope="module")
def plan() -> Plan:
    """st0 ══ pe0 ══ de0, 100 Mbit, four engines each"""
    return compile_plan(DualPathTopo(gpus=4))


def seen(
    plan: Plan, policy: str, full: dict[tuple[str, str], float], *,
    path: str = "pe", read_share: float = 1.0, waits_s: float = 0.0, at_work: float = 0.0,
    asked: DualPathScenario | None = None,
) -> Run:  # fmt: skip
    """Ten seconds, a request each 100 ms.

    Args:
        full: (NIC, direction) -> share of its line.
        path: of the reads.
        read_share: of the time in which there is one.
        waits_s: how long each prompt waits for HBM of its decode engine.
        at_work: share of the time in which prefill engines compute.
    """
    requests, transfers = [], []
    for number in range(COUNT):
        at = number * LENGTH_S / COUNT
        until = (number + read_share) * LENGTH_S / COUNT
        requests.append(record(
            RequestRecord, request=number, served_as=number, path=path, prefill="pe0g0",
            decode=f"de0g{number % 4}", t_scheduled=at, t_read_end=until, t_first_token=at + 1e-6,
            t_decode_start=at + waits_s + 0.5,
        ))  # fmt: skip
        transfers.append(record(
            TransferRecord, request=number, kind="h2d", path=path, source="de0",
            target="de0g0", t_posted=at + 1e-6 + waits_s,
        ))  # fmt: skip
    iterations = [
        record(
            IterationRecord,
            engine=f"pe0g{rank}",
            t_start=second,
            t_end=second + at_work,
            attention_s=at_work,
        )
        for rank in range(4)
        for second in range(int(LENGTH_S))
    ]
    records: dict[type, list[Any]] = {RequestRecord: requests, TransferRecord: transfers}
    if at_work:
        records[IterationRecord] = iterations
    samples = [[_meter(m, t_s, full) for m in plan.meters] for t_s in (0.0, LENGTH_S)]
    fields = {"open_s": 0.0, "close_s": LENGTH_S}
    return Run(asked or scenario(), plan, policy, records, samples, fields)


def record(kind: type[Any], /, **fields: object) -> Any:
    blank: dict[Any, object] = {str: "", int: 0, float: 0.0}
    empty = {f.name: blank.get(f.type, []) for f in msgspec.structs.fields(kind)}
    tag = msgspec.inspect.type_info(kind).tag  # type: ignore[attr-defined]
    return msgspec.convert(empty | {"type": tag} | fields, kind)


def _meter(meter: Any, t_s: float, full: dict[tuple[str, str], float]) -> MeterSample:
    size = int(full.get((meter.nic, meter.direction), 0.1) * meter.rate_bps * t_s / 8)
    return MeterSample(
        t_s, meter.nic, meter.kind, meter.node, meter.role, meter.direction, meter.rate_bps,
        size, 1, 0, 0, 0, 0, 0, 0, 0, {"kv": LaneSample(size, 1, 0)},
    )  # fmt: skip


def snic(plan: Plan, node: str) -> tuple[str, str]:
    return next((m.nic, "in") for m in plan.meters if m.kind == "snic" and m.node == node)


def cnic(plan: Plan) -> tuple[str, str]:
    return next((m.nic, m.direction) for m in plan.meters
                if m.kind == "cnic" and m.node == "pe0" and m.direction == "read")  # fmt: skip


def test_a_storage_bound_run_names_the_snics_that_its_policy_reads_by(plan: Plan) -> None:
    pe, de = snic(plan, "pe0"), snic(plan, "de0")
    run = seen(plan, "pe-only", {pe: 0.98})
    assert (bound_by(run), binds(run)) == ("storage", "pe-snics")
    run = seen(plan, "de-only", {de: 0.98}, path="de")
    assert (bound_by(run), binds(run)) == ("storage", "de-snics")
    run = seen(plan, "shorter-queue", {pe: 0.98, de: 0.99}, path="split")
    assert (bound_by(run), binds(run)) == ("storage", "all-snics")


def test_full_snics_are_named_alike_if_a_queue_ran_empty(plan: Plan) -> None:
    pe, de = snic(plan, "pe0"), snic(plan, "de0")
    run = seen(plan, "shorter-queue", {pe: 0.98, de: 0.99}, path="split", read_share=0.9)
    assert (bound_by(run), binds(run)) == ("de-snic-in", "all-snics")
    run = seen(plan, "shorter-queue", {pe: 0.98, de: 0.5}, path="split")
    assert (bound_by(run), binds(run)) == ("pe-snic-in", "pe-snics")


def test_another_nic_that_is_full(plan: Plan) -> None:
    run = seen(plan, "pe-only", {cnic(plan): 0.99})
    assert (bound_by(run), binds(run)) == ("pe-cnic-read", "cnics")


def test_storage_binds_if_its_own_snics_are_full_and_no_reader_is(plan: Plan) -> None:
    sending = next((m.nic, "out") for m in plan.meters if m.kind == "snic" and m.role == "storage")
    run = seen(plan, "pe-only", {sending: 1.0})
    assert (bound_by(run), binds(run)) == ("storage-snic-out", "storage-snics")
    run = seen(plan, "pe-only", {sending: 1.0, snic(plan, "pe0"): 0.98}, read_share=0.9)
    assert binds(run) == "pe-snics", "it sends what is read"


def test_engines_bind_where_no_nic_is_full(plan: Plan) -> None:
    run = seen(plan, "pe-only", {}, at_work=0.98)
    assert (bound_by(run), binds(run)) == ("compute", "prefill-compute")
    run = seen(plan, "pe-only", {}, at_work=0.5, waits_s=0.5)
    assert (bound_by(run), binds(run)) == ("load", "decode-hbm")
    run = seen(plan, "pe-only", {}, at_work=0.5, waits_s=0.001)
    assert binds(run) == "load", "prompts are copied at once: nobody waits for HBM"


def test_nothing_is_full(plan: Plan) -> None:
    assert binds(seen(plan, "pe-only", {})) == "load"
    clocked = scenario("arrivals: {rate: 1/s}")
    assert binds(seen(plan, "pe-only", {}, asked=clocked)) == "arrivals"


def test_without_a_window_nothing_is_said(plan: Plan) -> None:
    run = seen(plan, "pe-only", {})
    run.fields = {}
    assert (bound_by(run), binds(run)) == ("unknown", None)


def test_a_prediction_of_the_same_cluster_has_the_same_words(plan: Plan) -> None:
    shape, turn = shape_of(plan), TurnBytes(1000.0, 10.0, 5.0)
    found = predict(shape, turn, TurnTimes(), ["pe-only", "de-only", "shorter-queue"]).policies
    pe, de = snic(plan, "pe0"), snic(plan, "de0")
    full = {"pe-only": {pe: 0.98}, "de-only": {de: 0.98}, "shorter-queue": {pe: 0.98, de: 0.98}}
    paths = {"pe-only": "pe", "de-only": "de", "shorter-queue": "split"}
    for policy, prediction in found.items():
        assert prediction.binds == binds(seen(plan, policy, full[policy], path=paths[policy]))
