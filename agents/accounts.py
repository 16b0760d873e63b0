"""What the agents say they sent, as bytes on every NIC: to be compared with the kernel's count.

Each queue pair's account holds what was written to its socket: KV and the headers of its own
protocol.  Headers of TCP and below, and ACKs, are not in it; the comparison takes them off the
kernel's count by the number of packets.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from agents.records import AccountRecord


def carried_bytes(
    accounts: Sequence[AccountRecord], lane: str | None = None, lost: Collection[str] = ()
) -> dict[tuple[str, str], float]:
    """Bytes of TCP payload that should have crossed each NIC.

    Args:
        accounts: of both ends of every queue pair; each direction is counted once, at the sender.
        lane: count only queue pairs of this lane.
        lost: nodes whose own account is worth nothing.  What they sent others is counted where it
            arrived; of their own NICs nothing is known.

    Returns:
        (nic, direction) -> bytes; directions as `testbed.plan.model.Meter` has them.
    """
    totals: dict[tuple[str, str], float] = {}
    for account in accounts:
        ends, _, side = account.pair.partition("#")
        caller, _, called = ends.partition(">")
        callee, _, port = called.partition("/")
        device, _, marked = port.partition(":")
        own_lane = marked or "kv"
        if lane not in (None, own_lane):
            continue
        own, other = (caller, callee) if side == "caller" else (callee, caller)
        if node_of(own) in lost:
            continue
        ways = [(own, other, account.sent_bytes)]
        if node_of(other) in lost:
            ways.append((other, own, account.received_bytes))
        for sender, receiver, size_bytes in ways:
            if own_lane == "model":
                crossed = _between_gpus(sender, receiver, device)
            else:
                crossed = _crossed(sender, receiver, device, callee)
            for nic in crossed:
                totals[nic] = totals.get(nic, 0.0) + size_bytes
    return {
        nic: size for nic, size in totals.items() if node_of(nic[0].partition("/")[0]) not in lost
    }


def node_of(domain: str) -> str:
    """The node that a memory domain belongs to."""
    node, separator, rail = domain.rpartition("g")
    return node if separator and rail.isdigit() else domain


def _between_gpus(source: str, target: str, device: str) -> list[tuple[str, str]]:
    """The NICs between two HBM domains: a CNIC each, or inside a node an NVLink port each."""
    if device.startswith("cnic"):
        node, peer = (domain.rpartition("g")[0] for domain in (source, target))
        return [(f"{node}/{device}", "read"), (f"{peer}/{device}", "write")]
    return [(f"{source}/{device}", "out"), (f"{target}/{device}", "in")]


def _crossed(source: str, target: str, device: str, callee: str) -> list[tuple[str, str]]:
    """The NICs, and their directions, between two memory domains of which one is DRAM.

    Args:
        device: the port that was called, at `callee`; an HBM domain has only its own CNIC.
    """
    if device.startswith("snic"):
        return [(f"{source}/{device}", "out"), (f"{target}/{device}", "in")]
    if device.startswith("pcie"):  # one link, named after its DRAM end
        return [(f"{callee}/{device}", "out" if source == callee else "in")]
    return [
        (_cnic(source, device, callee), "read"),
        (_cnic(target, device, callee), "write"),
    ]


def _cnic(domain: str, device: str, callee: str) -> str:
    """The CNIC that a memory domain uses here: an engine's own, or the port that was called."""
    node, separator, rail = domain.rpartition("g")
    if domain != callee and separator and rail.isdigit():
        return f"{node}/cnic{rail}"
    return f"{domain}/{device}"
