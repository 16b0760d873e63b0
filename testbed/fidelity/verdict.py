"""The verdict on a run: PASS, or FAIL with the reasons; whether its figures may be believed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import msgspec

from testbed.fidelity import checks, machine_checks
from testbed.fidelity.checks import Check, Nic
from testbed.fidelity.loss_checks import losses, retransmissions
from testbed.fidelity.monitor import MachineSample
from testbed.fidelity.sampler import Counted
from testbed.plan.model import Plan, ShaperClass, Veth, burst_bytes

__all__ = [
    "Verdict",
    "at_once_bytes",
    "check_cluster",
    "check_load",
    "judge",
    "mtu_bytes",
    "shaper_bursts",
]


class Verdict(msgspec.Struct, frozen=True):
    """What all checks come to.

    Args:
        status: "PASS" only if every check held.
        reasons: one line for each that did not.
        checks: all of them.
        remarks: one line for each that has one, held or not.
    """

    status: Literal["PASS", "FAIL"]
    reasons: list[str]
    checks: list[Check]
    remarks: list[str] = []


def shaper_bursts(plan: Plan) -> dict[Nic, int]:
    """(nic, direction) -> bytes that its shaper may send beyond rate × time.

    A class with tokens of its own may send whatever its parents' state, so bursts add up over the
    classes; and the one packet, a whole aggregate, with which each may overdraw.
    """
    of_device: dict[tuple[str, str], int] = {}
    for element in plan.elements:
        if isinstance(element, ShaperClass):
            place = (element.namespace, element.device)
            own = burst_bytes(element.burst_ticks, element.rate_bps)
            ceil = burst_bytes(element.ceil_burst_ticks, element.ceil_bps)
            aggregate = element.quantum_bytes
            of_device[place] = of_device.get(place, 0) + max(own, ceil) + aggregate
    return {
        (meter.nic, meter.direction): of_device[meter.namespace, meter.device]
        for meter in plan.meters
        if (meter.namespace, meter.device) in of_device
    }


def at_once_bytes(plan: Plan) -> dict[Nic, int]:
    """(nic, direction) -> bytes that its shaper surely lets through at once after it was idle.

    All of a sender's classes, from its leaf to the line, have to have tokens: the least of them.
    """
    of_device: dict[tuple[str, str], int] = {}
    for element in plan.elements:
        if isinstance(element, ShaperClass):
            place = (element.namespace, element.device)
            own = burst_bytes(element.ceil_burst_ticks, element.ceil_bps)
            of_device[place] = min(of_device.get(place, own), own)
    return {
        (meter.nic, meter.direction): of_device[meter.namespace, meter.device]
        for meter in plan.meters
    }


def mtu_bytes(plan: Plan) -> int:
    """The largest IP packet of a plan's links."""
    return max((e.mtu for e in plan.elements if isinstance(e, Veth)), default=0)


def check_cluster(
    variant: str,
    plan: Plan,
    counted: Counted,
    machine: Sequence[MachineSample],
    window: tuple[float, float] | None,
    differences: Sequence[str] | None = None,
) -> list[Check]:
    """Everything that can be checked of a cluster without knowing what its load should be.

    Args:
        variant: its name.
        plan: of the cluster.
        counted: by the kernel.
        machine: what the monitor saw.
        window: (open, close) of the steady window; None judges the machine over the whole run.
        differences: of the cluster from its plan, after the load; None if nobody looked.
    """
    samples = counted.samples
    return [
        checks.as_planned(variant, differences),
        checks.sampling(variant, samples, counted.lost),
        checks.drops(variant, samples),
        losses(variant, *counted.links),
        retransmissions(variant, *counted.tcp, checks.sent_bytes(samples), mtu_bytes(plan)),
        checks.rates(variant, samples, shaper_bursts(plan)),
        checks.unclassified(variant, samples),
        machine_checks.machine(variant, machine, window),
        machine_checks.backlog(variant, machine),
        machine_checks.throttling(variant, machine, window),
        machine_checks.timers(variant, machine, window),
    ]


def check_load(
    variant: str,
    plan: Plan,
    counted: Counted,
    account: Mapping[Nic, float],
    unaccounted: Collection[Nic] = (),
) -> list[Check]:
    """What was carried is what a workload says it sent, where it should have been sent.

    Args:
        variant: its name.
        plan: of the cluster.
        counted: by the kernel.
        account: bytes that the workload says crossed each NIC.
        unaccounted: NICs of which it cannot say that.
    """
    found = [
        checks.accounts(
            variant, counted.samples, account, unaccounted=unaccounted, lost=counted.lost
        )
    ]
    if any(meter.kind == "mgmt" for meter in plan.meters):
        found.append(checks.management(variant, counted.samples))
    return found


def judge(found: Sequence[Check], *, interrupted: bool = False) -> Verdict:
    """The verdict: FAIL if a check failed or could not be made, or if there was none.

    Args:
        found: checks of all variants.
        interrupted: the run was ended before it was complete.
    """
    reasons = ["the run was interrupted: its figures are of what there was by then"] * interrupted
    if not found:
        reasons.append("nothing was checked")
    for check in found:
        if not check.ok:
            seen = (
                f"{check.measured}, where {check.bound} is asked"
                if check.bound
                else (check.measured)
            )
            why = f": {check.reason}" if check.reason else ""
            reasons.append(f"{check.variant}: {check.name}: {seen}{why}")
    remarks = [f"{check.variant}: {check.remark}" for check in found if check.remark]
    return Verdict("FAIL" if reasons else "PASS", reasons, list(found), remarks)
