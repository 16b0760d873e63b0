"""The workload's checks over records that say what went wrong: each is noticed, and named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec
import pytest

from agents.checks import own_checks
from agents.numbers import try_number
from agents.recorded import Run
from agents.records import (
    EventRecord,
    ProcessRecord,
    RequestRecord,
    StorageRecord,
    TransferRecord,
)
from agents.settings import DualPathScenario
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
Records: TypeAlias = dict[type, list[Any]]


@pytest.fixture(scope="module")
def scenario() -> DualPathScenario:
    return load_scenario(SCENARIO, DualPathScenario)


@pytest.fixture
def checked(scenario: DualPathScenario) -> Checked:
    """The checks of a run in which these events were recorded, by name."""

    def check(
        *events: EventRecord, other: Records | None = None, **fields: float
    ) -> dict[str, Check]:
        interrupted_s = fields.pop("interrupted_s", None)
        records = {EventRecord: list(events), **(other or {})}
        plan = Plan(frozenset(), "1p1d")
        run = Run(scenario, plan, "pe-only", records, [], fields, interrupted_s)
        return {check.name: check for check in own_checks(run)}

    return check


def event(kind: str, detail: str = "why", process: str = "de0") -> EventRecord:
    return EventRecord(process, 1.0, kind, 7, detail)


def test_without_events_nothing_was_refused_and_nothing_unforeseen(checked: Checked) -> None:
    found = checked()
    assert found["every put ended in order"].ok
    assert found["nothing unforeseen"].ok


def test_a_process_without_an_end_of_its_records_fails_the_run(
    scenario: DualPathScenario,
) -> None:
    plan = compile_plan(DualPathTopo(gpus=1))
    names = ["pe0", "de0", "st0", "sched", "client"]
    events = [EventRecord("sched", 1.0, "node-lost", 0, "de0: silent")]

    def check(told: list[str], events: list[EventRecord]) -> Check:
        ended = [ProcessRecord(name, 1.0, 0.0, 0, {}) for name in told]
        records: Records = {ProcessRecord: ended, EventRecord: events}
        run = Run(scenario, plan, "pe-only", records, [], {})
        return {check.name: check for check in own_checks(run)}["every process left its records"]

    assert check(names, []).ok
    found = check(["pe0", "st0", "sched"], [])
    assert found.ok is False
    assert found.measured == "3 of 5"
    assert found.reason.startswith("those of client, de0 have no end")
    assert check(["pe0", "st0", "sched", "client"], events).ok, "who was lost has none"


def test_a_run_in_which_nothing_was_served_or_verified_fails(checked: Checked) -> None:
    found = checked()
    assert found["every byte verified"].ok is False
    assert found["every byte verified"].reason == "no byte was verified"
    assert found["every request ended well"].ok is False
    assert found["every request ended well"].reason == "there was none"
    right = checked(other={RequestRecord: [request(7, verified_bytes=1)]})
    assert right["every byte verified"].ok and right["every request ended well"].ok


def test_a_put_that_failed_fails_the_run(checked: Checked) -> None:
    found = checked(event("put-failed", "other bytes\nwho?", "st0"), event("put-failed", "later"))
    check = found["every put ended in order"]
    assert check.ok is False
    assert check.measured == "2 failed, 0 refused for want of room"
    assert check.reason == "st0, request 7: put-failed, other bytes; who?"
    assert found["nothing unforeseen"].ok


def test_a_full_storage_fails_nothing_and_is_remarked_upon(checked: Checked) -> None:
    full = [StorageRecord("st0", 100, 100, 100, 0, refused_puts=3, refused_bytes=3 << 20)]
    found = checked(event("put-refused", "3 blocks"), other={StorageRecord: full})
    check = found["every put ended in order"]
    assert check.ok
    assert check.measured == "0 failed, 3 refused for want of room"
    assert "3 puts (3MiB)" in check.remark and "a storage too small" in check.remark
    assert found["nothing unforeseen"].ok
    assert checked()["every put ended in order"].remark == ""


def test_requests_that_were_tried_again_fail_nothing_and_are_remarked_upon(
    checked: Checked,
) -> None:
    requests = [request(7, attempts=2), request(8)]
    kinds = ("read-failed", "request-failed", "request-retried", "read-elsewhere")
    found = checked(*[event(kind) for kind in kinds], other={RequestRecord: requests})
    check = found["every request ended well"]
    assert check.ok and found["nothing unforeseen"].ok
    assert check.remark.startswith("1 of 2 requests were tried more than once")


def test_an_event_of_a_later_try_names_its_request(checked: Checked) -> None:
    late = EventRecord("de0", 1.0, "late-answer", try_number(7, 2), "loaded")
    reason = checked(late)["nothing unforeseen"].reason
    assert reason == "de0, request 7 (try 2): late-answer, loaded"


@pytest.mark.parametrize("kind", ["wrong-bytes", "late-arrival", "stale-credit"])
def test_wrong_bytes_fail_the_run(kind: str, checked: Checked) -> None:
    check = checked(event(kind))["every byte verified"]
    assert check.ok is False
    assert kind in check.reason


def test_an_eviction_is_no_failure(checked: Checked) -> None:
    found = checked(event("warm-start-evicted"))
    assert found["every put ended in order"].ok
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
    records = {TransferRecord: reads, RequestRecord: [request(1)]}
    samples = [[_meter(m, t_s) for m in plan.meters] for t_s in (0.0, 10.0)]
    run = Run(scenario, plan, policy, records, samples, {"open_s": 0.0, "close_s": 10.0})
    (check,) = (check for check in own_checks(run) if check.name == "load within line rate")
    assert check.ok is ok, check
    assert check.measured.startswith(f"{target} at ")


def request(number: int, attempts: int = 1, **fields: object) -> RequestRecord:
    """A request of which nothing is known but how it ended."""
    served_as = try_number(number, attempts)
    return msgspec.convert(
        dict.fromkeys(RequestRecord.__struct_fields__, 0)
        | {"session": "", "path": "pe", "prefill": "pe0", "decode": "de0", "stalls_s": [],
           "request": number, "attempts": attempts, "served_as": served_as, "error": "",
           "type": "request"}
        | fields,
        RequestRecord,
    )  # fmt: skip


def _meter(meter: Meter, t_s: float) -> MeterSample:
    return MeterSample(
        t_s, meter.nic, meter.kind, meter.node, meter.role, meter.direction, meter.rate_bps,
        0, 0, 0, 0, 0, 0, 0, 0, 0, {"kv": LaneSample(0, 0, 0)},
    )  # fmt: skip
