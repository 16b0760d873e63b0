"""Whole runs on every preset: both read paths, every byte verified, nothing dropped.

    storage ══ pe0 (g engines) ══ compute fabric ══ de0 … ══ storage

Load is reported, not asserted: these machines are noisy.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agents.compute import emulated_compute, tpot
from agents.settings import DualPathScenario
from agents.workload import DualPath
from testbed.experiment import runner
from testbed.experiment.runner import Ran
from testbed.experiment.scenario import load_scenario
from testbed.experiment.workload import Placed
from testbed.plan.model import Plan
from tests.e2e import faults

SMALL = """
name: small
topology: {{name: {preset}, set: {{gpus: {gpus}}}}}
scale: {{rate: 4000, bytes: 4000}}
duration: 1s
calibration: false
engines: {engines}
workload: {{kind: agentic, trace: 32k, agents: {agents}, generation_scale: 0.2}}
window: {{warm_up: 500ms, warm_up_turns: 0, tolerance: 0.9}}
policies: [{policies}]
"""
POLICIES = ("pe-only", "de-only", "round-robin", "shorter-queue")
# What the machine's other load decides, and what a window of a second cannot show.
NOISY = {
    "counters read throughout",
    "no packet lost by the machine",
    "machine CPU",
    "steady window",
    "timer lag",
    "loop lag",
}
# What follows, if a processor's backlog overflowed: the same packets, seen from elsewhere.
OVERFLOWED = {"no packet lost by a device", "retransmitted bytes"}
FORMULAE = "NIC loads are the formulae's"  # cannot be told where too much of a window is in buffers


def run(
    directory: Path, workload: DualPath | None = None, text: str = SMALL, **values: object
) -> Ran:
    """Run a small scenario."""
    filled = {
        "preset": "1p1d",
        "gpus": 2,
        "engines": "network-only",
        "agents": 8,
        "policies": "pe-only, shorter-queue",
        **values,
    }
    scenario = load_scenario(text.format(**filled), DualPathScenario)
    return runner.run(scenario, workload or DualPath(), directory, lambda progress: None)


def failed_checks(ran: Ran) -> dict[str, str]:
    """Failed checks that are not a matter of load."""
    failed = {(check.variant, check.name): check for check in ran.verdict.checks if not check.ok}
    overflowed = {variant for variant, name in failed if name == "no packet lost by the machine"}
    return {
        f"{variant}: {name}": f"{check.measured} ({check.reason})"
        for (variant, name), check in failed.items()
        if name not in NOISY
        and not (variant in overflowed and name in OVERFLOWED)
        and not (name == FORMULAE and check.ok is None)
    }


def summary(ran: Ran, policy: str) -> dict[str, Any]:
    """The figures of a policy."""
    return ran.outcomes[policy].summary


def carried_bytes(ran: Ran, policy: str, *kinds: str) -> int:
    """Bytes of the transfers of some kinds, recorded where they landed."""
    transfers: Sequence[Any] = ran.outcomes[policy].tables["transfers"]
    return sum(transfer.size_bytes for transfer in transfers if transfer.kind in kinds)


@pytest.mark.timeout(300)  # four runs
@pytest.mark.parametrize(("preset", "gpus"), [("1p1d", 8), ("2p1d", 4), ("1p2d", 1), ("2p4d", 2)])
def test_every_byte_arrives_on_every_preset_by_every_policy(
    tmp_path: Path, preset: str, gpus: int
) -> None:
    ran = run(tmp_path, preset=preset, gpus=gpus, policies=", ".join(POLICIES))
    assert tuple(ran.outcomes) == POLICIES
    assert failed_checks(ran) == {}
    for policy in ran.outcomes:
        seen = summary(ran, policy)
        assert seen["requests_failed"] == 0
        assert seen["bytes_verified"] > 0
        assert seen["events"] == 0
        # The two copies that the agents make, beside what was carried of the copied bytes.
        assert seen["bytes_gathered"] == carried_bytes(ran, policy, "layer_load", "layer_fetch")
        assert 0 < seen["bytes_scattered"] <= carried_bytes(ran, policy, "storage_write")
        print(f"{preset} {policy}: {seen['kv_load_bps'] / 1e6:.1f} Mbit/s")
    shares = {policy: summary(ran, policy)["path_share"] for policy in ran.outcomes}
    assert shares["pe-only"]["pe"] == 1.0
    assert shares["de-only"]["de"] == 1.0
    assert 0 < shares["round-robin"]["pe"] < 1
    assert 0 < shares["shorter-queue"]["pe"] < 1


def test_modelled_engines_take_their_time(tmp_path: Path) -> None:
    longer = SMALL.replace("duration: 1s", "duration: 4s")  # some iteration ends inside
    ran = run(tmp_path, text=longer, engines="modelled", policies="shorter-queue", agents=4)
    assert failed_checks(ran) == {}
    seen = summary(ran, "shorter-queue")
    assert seen["requests_failed"] == 0
    scenario = load_scenario(
        SMALL.format(preset="1p1d", gpus=2, engines="modelled", agents=4, policies="shorter-queue"),
        DualPathScenario,
    )
    # The shortest step is that of one request: a timer may be late, never early.
    compute = emulated_compute(scenario.resolved_model, scenario.realised_scale.stretch)
    least_s = tpot(compute, 1, 0)
    assert seen["tpot_s"]["p50"] is None or seen["tpot_s"]["p50"] >= 0.99 * least_s
    assert seen["itl_s"]["p50"] >= 0.99 * least_s
    assert 0 < seen["gpu_time"]["compute"] < 1


class Faulty(DualPath):
    """The workload with one process replaced by one that does something wrong."""

    def __init__(self, process: str, fault: str) -> None:
        super().__init__()
        self._process, self._fault = process, fault

    def programs(
        self, scenario: DualPathScenario, plan: Plan, variant: str, directory: Path
    ) -> list[Placed]:
        """As ever, but for one."""
        return [
            faults.replaced(placed, self._fault) if placed.name == self._process else placed
            for placed in super().programs(scenario, plan, variant, directory)
        ]


@pytest.mark.parametrize(
    ("process", "fault", "policy"),
    [
        ("st0", "flip-byte", "pe-only"),
        ("pe0", "swap-layers", "pe-only"),
        ("de0", "swap-layers", "de-only"),
        ("pe0", "flip-returned-byte", "pe-only"),
    ],
)
def test_wrong_bytes_fail_the_run(tmp_path: Path, process: str, fault: str, policy: str) -> None:
    ran = run(tmp_path, workload=Faulty(process, fault), policies=policy, agents=4)
    assert ran.verdict.status == "FAIL"
    assert any("wrong-bytes" in reason or "digest" in reason for reason in ran.verdict.reasons)
    assert summary(ran, policy)["requests_failed"] > 0


@pytest.mark.parametrize(
    ("process", "fault", "check"),
    [
        ("pe0", "falsify-account", "kernel and workload agree"),
        ("st0", "falsify-sent", "every read accounted for"),
        ("pe0", "falsify-read", "every read accounted for"),
        ("de0", "lose-the-end", "every process left its records"),
    ],
)
def test_an_account_that_is_not_true_fails_the_run_by_its_name(
    tmp_path: Path, process: str, fault: str, check: str
) -> None:
    ran = run(tmp_path, workload=Faulty(process, fault), policies="pe-only", agents=4)
    assert ran.verdict.status == "FAIL"
    assert f"pe-only: {check}" in failed_checks(ran)
    assert summary(ran, "pe-only")["requests_failed"] == 0, "nothing but the account is wrong"


def test_a_node_that_is_late_is_named_and_its_idle_request_has_an_overhead(tmp_path: Path) -> None:
    calibrated = SMALL.replace("calibration: false", "calibration: true")
    late = Faulty("pe0", "stall")
    ran = run(tmp_path, workload=late, text=calibrated, policies="pe-only", agents=4)
    checks = {check.name: check for check in ran.verdict.checks}
    assert checks["loop lag"].ok is False
    assert "pe0 had more to do" in checks["loop lag"].reason
    assert checks["overhead of an idle request"].ok is False
    assert summary(ran, "pe-only")["requests_failed"] == 0


def test_tiny_buffers_make_requests_wait_not_deadlock(tmp_path: Path) -> None:
    """8 agents, room for barely two prompts in each buffer: all requests end well."""
    ran = run(tmp_path, workload=faults.TinyBuffers(), policies="pe-only, shorter-queue")
    assert failed_checks(ran) == {}
    for policy in ran.outcomes:
        assert summary(ran, policy)["requests"] >= 8
