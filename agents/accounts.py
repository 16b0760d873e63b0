"""What the agents say they sent, as bytes on every NIC: to be compared with the kernel's count.

Each queue pair's account holds the bytes of both directions, with the headers of its own protocol.  On
the wire come frame headers, by full-sized segments, and the ACKs of the other direction's.
"""

from __future__ import annotations

from collections.abc import Sequence

from agents.records import AccountRecord

_FRAME_BYTES = 66  # Ethernet 14, IPv4 20, TCP 20 with 12 of timestamps
_TCP_IP_BYTES = 52
_SEGMENTS_PER_ACK = 2  # delayed ACKs: RFC 1122, 4.2.3.2


def expected_bytes(accounts: Sequence[AccountRecord], mtu: int) -> dict[tuple[str, str], float]:
    """Bytes that should have crossed each NIC.

    Args:
        accounts: of both ends of every queue pair; each direction is counted once, at the sender.
        mtu: largest IP packet of the cluster, bytes.

    Returns:
        (nic, direction) -> bytes; directions as `testbed.plan.model.Meter` has them.
    """
    totals: dict[tuple[str, str], float] = {}
    for account in accounts:
        ends, _, side = account.pair.partition("#")
        caller, _, called = ends.partition(">")
        callee, _, device = called.partition("/")
        sender, receiver = (caller, callee) if side == "caller" else (callee, caller)
        segments = account.sent_bytes / (mtu - _TCP_IP_BYTES)
        forward = account.sent_bytes + segments * _FRAME_BYTES
        backward = segments / _SEGMENTS_PER_ACK * _FRAME_BYTES
        for name, size in (
            *((crossing, forward) for crossing in _crossed(sender, receiver, device, callee)),
            *((crossing, backward) for crossing in _crossed(receiver, sender, device, callee)),
        ):
            totals[name] = totals.get(name, 0.0) + size
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
