"""What became of each transfer: how long it waited, and how much slower than alone it was.

The ideal is the line alone: a transfer's bytes at the rate of the slowest NIC that it crosses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

import msgspec

from agents.records import TransferRecord
from testbed.plan.model import Plan

Nic = tuple[str, str]  # (nic, direction)


class TransferRow(TransferRecord, frozen=True, gc=False, kw_only=True, tag="transfer-row"):
    """One row of the table `transfers`: the record, and what follows from it.

    Args:
        device: the port that was called; empty for a copy within DRAM.
        lane: "kv" or "model".
        queue_s: from posting to the arrival of the first byte: in the sender's queue and socket,
            and in the queues of the NICs.
        ideal_s: bytes over the rate of the slowest NIC on the way; null for a copy within DRAM.
        slowdown: from posting to the last byte, over the ideal; null where there is none.
    """

    device: str
    lane: str
    queue_s: float
    ideal_s: float | None
    slowdown: float | None


class Port(NamedTuple):
    """What `TransferRecord.port` says."""

    device: str
    lane: str


def parse_port(port: str) -> Port:
    """The device and the lane of a port."""
    device, _, lane = port.partition(":")
    return Port(device, lane or "kv")


def crossed(plan: Plan, source: str, target: str, device: str) -> list[Nic]:
    """The NICs, and their directions, between two memory domains.

    Args:
        plan: of the cluster.
        source, target: memory domains.
        device: the port that was called; an HBM domain has only its own CNIC.
    """
    if device.startswith("pcie"):  # one link, named after its DRAM end
        outward = plan.domains[source].kind == "dram"
        return [(f"{source if outward else target}/{device}", "out" if outward else "in")]
    if device.startswith("cnic"):
        return [(_cnic(plan, source, device), "read"), (_cnic(plan, target, device), "write")]
    return [(f"{source}/{device}", "out"), (f"{target}/{device}", "in")]


def _cnic(plan: Plan, name: str, device: str) -> str:
    domain = plan.domains[name]
    if domain.kind == "hbm":
        device = next(own for own in domain.addresses if own.startswith("cnic"))
    return f"{domain.node}/{device}"


def transfer_rows(plan: Plan, transfers: Sequence[TransferRecord]) -> list[TransferRow]:
    """All transfers of a run, with what follows from them."""
    rates: Mapping[Nic, int] = {(m.nic, m.direction): m.rate_bps for m in plan.meters}

    @cache
    def slowest_bps(source: str, target: str, device: str) -> int:
        return min(rates[nic] for nic in crossed(plan, source, target, device))

    rows = []
    for t in transfers:
        device, lane = parse_port(t.port)
        ideal_s = t.size_bytes * 8 / slowest_bps(t.source, t.target, device) if device else None
        rows.append(
            TransferRow(
                *msgspec.structs.astuple(t),
                device=device,
                lane=lane,
                queue_s=t.t_first_byte - t.t_posted,
                ideal_s=ideal_s,
                slowdown=(t.t_last_byte - t.t_posted) / ideal_s if ideal_s else None,
            )
        )
    return rows
