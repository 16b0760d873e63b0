"""The workload's checks over records that say what went wrong: each is noticed, and named."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from agents.checks import own_checks
from agents.records import EventRecord, RequestRecord, TransferRecord
from agents.settings import DualPathScenario
from agents.summary import Run
from testbed.experiment.scenario import load_scenario
from testbed.fidelity.checks import Check
from testbed.kernel.samples import LaneSample, MeterSample
from testbed.plan.compile import compile_plan
from testbed.plan.model import Meter, Plan
from topologies.dualpath import DualPathTopo

SCENARIO = """
name: checked
topology: {name: 1p1d, set: {gpus: 1}}
scale: {rate: 4000, bytes: 4000}
duration: 3s
engines: network-only
workload: {kind: agentic, trace: 32k, agents: 1}
policies: [pe-only, de-only, shorter-queue]
"""
Checked = Callable[..., dict[str, Check]]


@pytest.fixture(scope="module")
def scenario() -> DualPathScenario:
    return load_scenario(SCENARIO, DualPathScenario)


@pytest.fixture
def checked(scenario: DualPathScenario) -> Checked:
    """The checks of a run in which these events were recorded, by name."""

    def check(*events: EventRecord, **fields: float) -> dict[str, Check]:
        interrupted_s = fields.pop("interrupted_s", None)
        records = {EventRecord: list(events)}
        plan = Plan(frozenset(), "1p1d")
        run = Run(scenario, plan, "pe-only", records, [], fields, interrupted_s)
        return {check.name: check for check in own_checks(run)}

    return check


def event(kind: str, detail: str = "why", process: str = "de0") -> EventRecord:
    return EventRecord(process, 1.0, kind, 7, detail)


def test_without_events_nothing_was_refused_and_nothing_unforeseen(checked: Checked) -> None:
    found = checked()
    assert found["every block persisted"].ok
    assert found["nothing unforeseen"].ok


@pytest.mark.parametrize("kind", ["storage-refused", "put-refused"])
def test_a_block_that_storage_refused_fails_the_run(kind: str, checked: Checked) -> None:
    found = checked(event(kind, "no room\ngive more", "st0"), event(kind, "later"))
    check = found["every block persisted"]
    assert check.ok is False
    assert check.measured == "2 refused"
    assert check.reason == f"st0, request 7: {kind}, no room; give more"
    assert found["nothing unforeseen"].ok


@pytest.mark.parametrize("kind", ["wrong-bytes", "late-arrival", "stale-credit"])
def test_wrong_bytes_fail_the_run(kind: str, checked: Checked) -> None:
    check = checked(event(kind))["every byte verified"]
    assert check.ok is False
    assert kind in check.reason


def test_an_eviction_is_no_failure(checked: Checked) -> None:
    found = checked(event("warm-start-evicted"))
    assert found["every block persisted"].ok
    assert found["nothing unforeseen"].ok


def test_an_event_that_no_check_knows_fails_the_run(checked: Checked) -> None:
    check = checked(event("late-answer", "put-reply"))["nothing unforeseen"]
    assert check.ok is False
    assert check.reason == "de0, request 7: late-answer, put-reply"


def test_without_a_window_the_reason_is_the_true_one(checked: Checked) -> None:
    trace_ended = checked(close_s=9.0)["steady window"]
    assert trace_ended.ok is None
    assert "the trace came to its end" in trace_ended.reason
    interrupted = checked(interrupted_s=9.0)["steady window"]
    assert interrupted.ok is None
    assert "interrupted before its window" in interrupted.reason


@pytest.mark.parametrize(
    ("policy", "target", "rate", "ok"),
    [("pe-only", "pe0", 0.96, True), ("pe-only", "pe0", 1.5, False), ("de-only", "pe0", 1.5, False),
     ("shorter-queue", "de0", 1.5, False)],
)  # fmt: skip
def test_no_node_loads_more_than_its_own_line(
    policy: str, target: str, rate: float, ok: bool, scenario: DualPathScenario
) -> None:
    """Over 10 s of lines of 100 Mbit, in writes of 1 MB: `rate` of one SNIC's line."""
    plan = compile_plan(DualPathTopo(gpus=1, cnic_mbit=100))
    size = 1_000_000
    took = size * 8 / (rate * 100e6)
    reads = [
        TransferRecord(1, "storage_read", "pe", "st0", target, 0, 0, size, n * took, (n + 1) * took)
        for n in range(int(10 / took))
    ]
    request = msgspec.convert(
        dict.fromkeys(RequestRecord.__struct_fields__, 0)
        | {"session": "", "path": "pe", "prefill": "pe0", "decode": "de0", "stalls_s": [],
           "request": 1, "served_as": 1, "error": "", "type": "request"},
        RequestRecord,
    )  # fmt: skip
    records = {TransferRecord: reads, RequestRecord: [request]}
    samples = [[_meter(m, t_s) for m in plan.meters] for t_s in (0.0, 10.0)]
    run = Run(scenario, plan, policy, records, samples, {"open_s": 0.0, "close_s": 10.0})
    (check,) = (check for check in own_checks(run) if check.name == "load within line rate")
    assert check.ok is ok, check
    assert check.measured.startswith(f"{target} at ")


def _meter(meter: Meter, t_s: float) -> MeterSample:
    return MeterSample(
        t_s, meter.nic, meter.kind, meter.node, meter.role, meter.direction, meter.rate_bps,
        0, 0, 0, 0, 0, 0, 0, 0, 0, {"kv": LaneSample(0, 0, 0)},
    )  # fmt: skip
