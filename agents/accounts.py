"""What the agents say they sent, as bytes on every NIC: to be compared with the kernel's count.

Each queue pair's account holds what was written to its socket: KV and the headers of its own
protocol.  Headers of TCP and below, and ACKs, are not in it; the comparison takes them off the
kernel's count by the number of packets.
"""

from __future__ import annotations

from collections.abc import Sequence

from agents.records import AccountRecord


def carried_bytes(accounts: Sequence[AccountRecord]) -> dict[tuple[str, str], float]:
    """Bytes of TCP payload that should have crossed each NIC.

    Args:
        accounts: of both ends of every queue pair; each direction is counted once, at the sender.

    Returns:
        (nic, direction) -> bytes; directions as `testbed.plan.model.Meter` has them.
    """
    totals: dict[tuple[str, str], float] = {}
    for account in accounts:
        ends, _, side = account.pair.partition("#")
        caller, _, called = ends.partition(">")
        callee, _, device = called.partition("/")
        sender, receiver = (caller, callee) if side == "caller" else (callee, caller)
        for nic in _crossed(sender, receiver, device, callee):
            totals[nic] = totals.get(nic, 0.0) + account.sent_bytes
    return totals


def _crossed(source: str, target: str, device: str, callee: str) -> list[tuple[str, str]]:
    """The NICs, and their directions, between two memory domains.

    Args:
        device: the port that was called, at `callee`; an HBM domain has only its own CNIC.
    """
    if device.startswith("snic"):
        return [(f"{source}/{device}", "out"), (f"{target}/{device}", "in")]
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
