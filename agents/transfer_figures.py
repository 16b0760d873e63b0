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


class TransferRow(msgspec.Struct, frozen=True, gc=False):
    """One row of the table `transfers`: the record, and what follows from it.

    Args:
        lane: "kv" or "model".
        device: the port that was called; empty for a copy within DRAM.
        queue_s: from posting to the arrival of the first byte: in the sender's queue and socket,
            and in the queues of the NICs.
        ideal_s: bytes over the rate of the slowest NIC on the way; null for a copy within DRAM.
        slowdown: from posting to the last byte, over the ideal; null where there is none.
    """

    request: int
    kind: str
    path: str
    lane: str
    device: str
    source: str
    target: str
    layer_first: int
    layer_count: int
    size_bytes: int
    t_posted: float
    t_first_byte: float
    t_last_byte: float
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
                t.request, t.kind, t.path, lane, device, t.source, t.target, t.layer_first,
                t.layer_count, t.size_bytes, t.t_posted, t.t_first_byte, t.t_last_byte,
                t.t_first_byte - t.t_posted, ideal_s,
                (t.t_last_byte - t.t_posted) / ideal_s if ideal_s else None,
            )
        )  # fmt: skip
    return rows
