"""The agents' own measures of fidelity, over records and counters that were made up."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agents.binding import bound_by
from agents.fidelity_checks import (
    buffered_share,
    formulae,
    loop_lag,
    mean_lag_s,
    p99_lag_s,
    shortest_interval_s,
)
from agents.recorded import Run
from agents.records import (
    LoopLagRecord,
    ProcessRecord,
    RequestRecord,
    StepRecord,
    TransferRecord,
)
from agents.settings import DualPathScenario
from testbed.experiment.scenario import load_scenario
from testbed.kernel.samples import FRAME_HEADER_BYTES, LaneSample, MeterSample
from testbed.plan.compile import compile_plan
from testbed.plan.model import Plan
from topologies.dualpath import DualPathTopo

SCENARIO = """
name: checked
topology: {name: 1p1d, set: {gpus: 1}}
scale: {rate: 4000, bytes: 4000}
duration: 10s
engines: network-only
workload: {kind: agentic, trace: 32k, agents: 1}
policies: [pe-only]
"""
LINE = 100_000_000
SIZE = 122_000  # of a read; 10 s of them fill 97.6 % of the line
FRAME = 9014


@pytest.fixture(scope="module")
def scenario() -> DualPathScenario:
    return load_scenario(SCENARIO, DualPathScenario)


@pytest.fixture(scope="module")
def plan() -> Plan:
    """st0 ══ pe0 ══ de0, 100 Mbit, one engine each"""
    return compile_plan(DualPathTopo(gpus=1))


def request(**fields: object) -> RequestRecord:
    empty = dict.fromkeys(RequestRecord.__struct_fields__, 0) | {
        "session": "s", "path": "pe", "prefill": "pe0g0", "decode": "de0g0", "error": "",
        "stalls_s": [], "type": "request",
    }  # fmt: skip
    return msgspec.convert(empty | fields, RequestRecord)


def saturated(
    scenario: DualPathScenario, plan: Plan, *, cnic: float = 1.0, gap_s: float = 0.0,
    reloaded: int = 0, persisted: float = 0.0, loaded: float = 1.0, size: int = SIZE,
) -> Run:  # fmt: skip
    """Ten seconds of reads, back to back, by pe0's SNIC.

    Args:
        cnic: what the CNICs carried, of what the formulae say.
        gap_s: how long no read was there.
        persisted: what the decode SNIC sent, of what was read; nobody wrote any of it.
        loaded: of what was read, what went on from the buffers.
        size: of a read.
    """
    count = 1000
    requests, transfers = [], []
    for number in range(count):
        first, last = number * 0.01, (number + 1) * 0.01
        late = gap_s if number == count // 2 else 0.0
        requests.append(
            request(
                request=number, served_as=number, t_scheduled=first + late, t_read_end=last,
                t_first_token=last,
                hit_tokens=1000, prompt_tokens=1000, reloaded_bytes=reloaded,
            )
        )  # fmt: skip
        for kind, source, target in (
            ("storage_read", "st0", "pe0"), ("layer_load", "pe0", "pe0g0"),
            ("kv_return", "pe0g0", "de0"), ("h2d", "de0", "de0g0"),
        ):  # fmt: skip
            transfers.append(
                TransferRecord(
                    number, kind, "pe", source, target, 0, 1,
                    size if kind == "storage_read" else int(loaded * size), first, last,
                )
            )  # fmt: skip
    read = count * size
    loads = {
        ("pe0/snic0", "in"): 1.0, ("pe0/cnic0", "read"): 2 * cnic, ("pe0/cnic0", "write"): cnic,
        ("de0/cnic0", "read"): cnic, ("de0/cnic0", "write"): 2 * cnic,
        ("de0/snic0", "out"): persisted,
    }  # fmt: skip
    samples = [
        [
            _meter(m, t_s, int(read * t_s / 10 * loads.get((m.nic, m.direction), 0.0)))
            for m in plan.meters
        ]
        for t_s in (0.0, 10.0)
    ]
    records: dict[type, list[Any]] = {RequestRecord: requests, TransferRecord: transfers}
    fields = {"open_s": 0.0, "close_s": 10.0}
    return Run(scenario, plan, "pe-only", records, samples, fields)


def _meter(meter: Any, t_s: float, payload: int) -> MeterSample:
    packets = payload // (FRAME - FRAME_HEADER_BYTES)
    size = payload + packets * FRAME_HEADER_BYTES
    lanes = {"kv": LaneSample(size, packets, 0)}
    return MeterSample(
        t_s, meter.nic, meter.kind, meter.node, meter.role, meter.direction, meter.rate_bps,
        size, packets, 0, 0, 0, 0, 0, 0, 0, lanes,
    )  # fmt: skip


def test_loads_of_a_storage_bound_run_are_the_formulaes(
    scenario: DualPathScenario, plan: Plan
) -> None:
    run = saturated(scenario, plan)
    assert bound_by(run) == "storage"
    check = formulae(run)
    assert check.ok, check
    assert check.measured.startswith("widest 0.0% apart")


@pytest.mark.parametrize("cnic", [0.96, 1.04])
def test_a_load_that_is_not_the_formulas_fails_by_its_name(
    scenario: DualPathScenario, plan: Plan, cnic: float
) -> None:
    check = formulae(saturated(scenario, plan, cnic=cnic))
    assert check.ok is False
    assert "pe-cnic-read carried" in check.reason


def test_a_nic_for_which_the_formula_has_next_to_nothing_may_not_carry_much(
    scenario: DualPathScenario, plan: Plan
) -> None:
    assert formulae(saturated(scenario, plan, persisted=0.029)).ok
    check = formulae(saturated(scenario, plan, persisted=0.031))
    assert check.ok is False
    assert check.reason.startswith("de-snic-out carried 3.")


def test_what_stays_in_buffers_is_tolerated_but_not_without_end(
    scenario: DualPathScenario, plan: Plan
) -> None:
    assert formulae(saturated(scenario, plan, cnic=0.95, loaded=0.95)).ok
    check = formulae(saturated(scenario, plan, cnic=0.85, loaded=0.85))
    assert check.ok is None
    assert "lengthen duration" in check.reason


def test_a_read_queue_that_was_empty_once_is_not_storage_bound(
    scenario: DualPathScenario, plan: Plan
) -> None:
    run = saturated(scenario, plan, gap_s=0.005, cnic=1.04)
    assert bound_by(run) == "pe-cnic-read" or bound_by(run) == "de-cnic-write"
    assert formulae(run).ok, "the formulae are of storage-bound runs"
    assert "not asked" in formulae(run).measured


def test_a_snic_that_is_nearly_full_is_not_storage_bound(
    scenario: DualPathScenario, plan: Plan
) -> None:
    assert bound_by(saturated(scenario, plan, size=121_000)) == "storage"  # 97.5 % with headers
    assert bound_by(saturated(scenario, plan, size=120_000)) != "storage"  # 96.7 %


def test_what_stays_in_buffers_is_told_from_misses(scenario: DualPathScenario, plan: Plan) -> None:
    """Of each prompt a third is computed: what goes into decode HBM is half as much again."""
    run = saturated(scenario, plan)
    served = [msgspec.structs.replace(r, prompt_tokens=1500) for r in run.of(RequestRecord)]
    moved = [
        msgspec.structs.replace(t, size_bytes=t.size_bytes * 3 // 2) if t.kind == "h2d" else t
        for t in run.of(TransferRecord)
    ]

    def share(transfers: list[TransferRecord]) -> float:
        records: dict[type, list[Any]] = {RequestRecord: served, TransferRecord: transfers}
        return buffered_share(Run(scenario, plan, "pe-only", records, run.samples, run.fields))

    assert share(moved) == pytest.approx(0.0)
    late = [t for t in moved if t.kind != "h2d" or t.request >= 20]
    assert share(late) == pytest.approx(0.02)
    unloaded = [t for t in moved if t.kind != "layer_load" or t.request >= 50]
    assert share(unloaded) == pytest.approx(0.05)


def test_what_is_loaded_twice_is_outside_the_formulae(
    scenario: DualPathScenario, plan: Plan
) -> None:
    check = formulae(saturated(scenario, plan, reloaded=5, cnic=1.5))
    assert check.ok and "cut" in check.measured


def lagging(
    scenario: DualPathScenario, plan: Plan, lag_s: float, *others: Any, often: float = 1.0
) -> Run:
    """pe0's loop is late so often, de0's is not."""
    run = saturated(scenario, plan)
    count = 200
    lags = [LoopLagRecord(name, t / 20, lag_s if name == "pe0" and t < often * count else 0.0)
            for name in ("pe0", "de0") for t in range(count)]  # fmt: skip
    processes = [ProcessRecord(name, 1.0, 0.0, 0, {}) for name in ("pe0", "de0")]
    more: dict[type, list[Any]] = {}
    for other in others:
        more.setdefault(type(other), []).append(other)
    records = {**run.records, LoopLagRecord: lags, ProcessRecord: processes, **more}
    return Run(scenario, plan, "pe-only", records, run.samples, run.fields)


def test_a_loop_may_be_late_by_a_small_share_of_a_mean_read(
    scenario: DualPathScenario, plan: Plan
) -> None:
    read_s = SIZE * 8 / LINE
    assert shortest_interval_s(lagging(scenario, plan, 0.0)) == pytest.approx(read_s)
    assert loop_lag(lagging(scenario, plan, 0.029 * read_s)).ok
    check = loop_lag(lagging(scenario, plan, 0.031 * read_s))
    assert check.ok is False and "pe0" in check.reason


def test_now_and_then_it_may_be_late_by_more_but_not_by_most_of_it(
    scenario: DualPathScenario, plan: Plan
) -> None:
    read_s = SIZE * 8 / LINE
    assert loop_lag(lagging(scenario, plan, 0.49 * read_s, often=0.03)).ok
    check = loop_lag(lagging(scenario, plan, 0.6 * read_s, often=0.03))
    assert check.ok is False and "pe0" in check.reason
    assert loop_lag(lagging(scenario, plan, 0.6 * read_s, often=0.005)).ok


def test_a_loop_that_stood_still_counts_for_as_long_as_it_did() -> None:
    """Of ten seconds it stood still for two: its own timer was late by that once."""
    lags_s = [0.0] * 160 + [1.95]
    assert mean_lag_s(lags_s) == pytest.approx((0.05 * 1.95 + 1.95**2 / 2) / 10, rel=1e-6)
    assert p99_lag_s(lags_s) == 1.95
    assert p99_lag_s([0.0] * 400 + [0.04]) == 0.0
    assert mean_lag_s([0.001] * 50) == pytest.approx(0.001, rel=0.02)


def test_with_engines_that_compute_it_is_a_decode_step(
    scenario: DualPathScenario, plan: Plan
) -> None:
    step = StepRecord("de0g0", 1.0, 1.1, 3, 1000.0)
    assert loop_lag(lagging(scenario, plan, 0.0025, step)).ok
    assert loop_lag(lagging(scenario, plan, 0.0035, step)).ok is False


def test_a_process_whose_lag_nobody_saw_is_not_taken_for_punctual(
    scenario: DualPathScenario, plan: Plan
) -> None:
    silent = ProcessRecord("st0", 1.0, 0.0, 0, {})
    run = lagging(scenario, plan, 0.0)
    records = {**run.records, ProcessRecord: [*run.of(ProcessRecord), silent]}
    check = loop_lag(Run(scenario, plan, "pe-only", records, run.samples, run.fields))
    assert check.ok is None and "st0" in check.reason


def test_reads_that_were_given_up_are_outside_the_formulae(
    scenario: DualPathScenario, plan: Plan
) -> None:
    run = saturated(scenario, plan, cnic=1.04)
    run.of(TransferRecord).append(
        TransferRecord(9999, "storage_read", "pe", "st0", "pe0", 0, 1, SIZE, 1.0, 1.01)
    )
    assert "given up" in formulae(run).measured
