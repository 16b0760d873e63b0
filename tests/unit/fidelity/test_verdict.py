from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from mininet.topo import SingleSwitchTopo

from testbed.fidelity.checks import Check
from testbed.fidelity.monitor import MachineSample
from testbed.fidelity.sampler import Counted
from testbed.fidelity.verdict import check_cluster, check_load, judge, shaper_bursts
from testbed.kernel.samples import LaneSample, LinkSample, MeterSample
from testbed.plan.compile import compile_plan
from testbed.plan.model import Plan


@pytest.fixture(scope="module")
def plan() -> Plan:
    """h1 <-> s1 <-> h2, both links 10 Mbit."""
    return compile_plan(_shaped(), None, name="single")


def _shaped() -> SingleSwitchTopo:
    class Shaped(SingleSwitchTopo):
        def addLink(self, a: str, b: str, **options: object) -> object:
            return super().addLink(a, b, bw=10, **options)

    return Shaped(2)


def samples(plan: Plan, count: int = 21, step: int = 10_000) -> list[list[MeterSample]]:
    return [
        [
            MeterSample(
                i / 10, m.nic, m.kind, m.node, m.role, m.direction, m.rate_bps,
                i * step, i, 0, 0, 0, 0, 0, 0, 0, {"kv": LaneSample(i * step, i, 0)},
            )
            for m in plan.meters
        ]
        for i in range(count)
    ]  # fmt: skip


def watched() -> list[MachineSample]:
    return [MachineSample(i / 5, 0.3, 0.1, 0.0, 0, 0, 0.0, 0.5, 0.001) for i in range(11)]


TCP = ({"h1": {"RetransSegs": 0, "OutSegs": 9}},) * 2
LINKS = ({"h1": {"h1-eth0": LinkSample(0, 0, 0, 0, 0, 0, 0, 0)}},) * 2


def check(
    plan: Plan,
    counted: Counted,
    account: dict[tuple[str, str], float],
    differences: Sequence[str] = (),
) -> list[Check]:
    return [
        *check_cluster("v", plan, counted, watched(), None, differences),
        *check_load("v", plan, counted, account),
    ]


def test_a_quiet_run_passes_every_check(plan: Plan) -> None:
    account = {(m.nic, m.direction): 200_000.0 for m in plan.meters}
    found = check(plan, Counted(samples(plan), TCP, LINKS), account)
    verdict = judge(found)
    assert verdict.reasons == []
    assert verdict.status == "PASS"
    assert len({each.name for each in found}) == len(found) >= 10


def test_every_metered_direction_has_a_burst_of_its_classes(plan: Plan) -> None:
    bursts = shaper_bursts(plan)
    assert set(bursts) == {(m.nic, m.direction) for m in plan.meters}
    assert all(bursts[m.nic, m.direction] >= m.burst_bytes for m in plan.meters)


def test_a_rate_above_the_link_fails(plan: Plan) -> None:
    account = {(m.nic, m.direction): 20e6 for m in plan.meters}
    fast = samples(plan, step=1_000_000)
    found = check(plan, Counted(fast, TCP, LINKS), account)
    assert [each.name for each in found if not each.ok] == ["no NIC above its rate"]


def good(**changed: object) -> Check:
    fields = {"name": "no drop", "variant": "v", "ok": True, "measured": "0 packets",
              "bound": "0", "reason": ""}  # fmt: skip
    return Check(**{**fields, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize("ok", [False, None])
def test_what_failed_and_what_could_not_be_measured_both_fail(ok: bool | None) -> None:
    verdict = judge([good(), good(ok=ok, variant="pe-only", measured="3", reason="queues")])
    assert verdict.status == "FAIL"
    assert verdict.reasons == ["pe-only: no drop: 3, where 0 is asked: queues"]


def test_what_should_be_known_is_said_whether_or_not_the_check_held() -> None:
    verdict = judge([good(remark="storage was full"), good(ok=False, variant="w", remark="so?")])
    assert verdict.remarks == ["v: storage was full", "w: so?"]
    assert judge([good(remark="storage was full")]).status == "PASS"


def test_no_check_is_no_pass() -> None:
    assert judge([]).status == "FAIL"


def test_an_interrupted_run_fails() -> None:
    verdict = judge([good()], interrupted=True)
    assert verdict.status == "FAIL"
    assert "interrupted" in verdict.reasons[0]


def test_a_run_that_nobody_sampled_does_not_pass(plan: Plan) -> None:
    found = check_cluster("v", plan, Counted(), [], None) + check_load("v", plan, Counted(), {})
    assert all(each.ok is None for each in found)
    assert judge(found).status == "FAIL"


def test_a_numpy_truth_is_a_truth() -> None:
    assert judge([good(ok=np.bool_(True))]).status == "PASS"
    assert judge([good(ok=np.bool_(False))]).status == "FAIL"


def test_a_cluster_that_was_changed_behind_the_testbeds_back_fails_by_name(plan: Plan) -> None:
    account = {(m.nic, m.direction): 200_000.0 for m in plan.meters}
    found = check(
        plan, Counted(samples(plan), TCP, LINKS), account,
        ["class h1 h1-eth0 0x20: rate_bps is 1, not 2"],
    )  # fmt: skip
    (failed,) = (each for each in found if not each.ok)
    assert failed.name == "cluster as planned to the end"
    assert "class h1 h1-eth0 0x20" in failed.reason


def test_counters_that_end_early_fail_by_what_was_lost_and_judge_no_account(plan: Plan) -> None:
    found = check(plan, Counted(samples(plan), TCP, LINKS, "the shaper of X is gone"), {})
    failed = {each.name: each for each in found if not each.ok}
    assert failed["counters read throughout"].reason == "the shaper of X is gone"
    assert failed["kernel and workload agree"].ok is None
