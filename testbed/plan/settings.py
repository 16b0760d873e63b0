"""Parameters of links and queues that a topology does not state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from testbed.errors import UsageError

GSO_LIMIT_BYTES = 65536  # GSO_LEGACY_MAX_SIZE of the kernel
_AGGREGATION_S = 1e-3
_FRAME_OVERHEAD_BYTES = 512  # headers of every layer, generously: MAX_TCP_HEADER and Ethernet


@dataclass(frozen=True)
class PlanSettings:
    """How links are made; what is None is derived from each link's rate.

    Args:
        mtu: largest IP packet, bytes.
        gso_max_bytes: largest packet that a device takes before segmentation (aggregation limit);
            None: what the line sends in 1 ms, at least one frame, at most 64 KiB.
        burst_bytes: what a link may send at once after it was idle; None: 1 ms of the line or
            two aggregates, whichever is larger.
        queue_packets: depth of each leaf's queue.
        rto_min_ms: least retransmission timeout on every route: above the longest legitimate wait.
        leaves: senders told apart in a lane of a port, at most; a power of two.
        arbitration: "fair" gives each sender a queue, "fifo" gives a lane one.
        lanes: False for one lane that takes all, whatever its mark.
        tcp_rmem, tcp_wmem: see tcp(7).  What is under way in the network is bounded by the receive
            buffer; a large send buffer only spares the sender wake-ups.
        congestion_control: of every socket that does not choose.  Nothing is ever lost, so windows
            only grow to the buffers; reno is the one that every kernel lets a namespace have.

    Raises:
        UsageError: a value makes no sense, or does not go with another.
    """

    mtu: int = 9000
    gso_max_bytes: int | None = None
    burst_bytes: int | None = None
    queue_packets: int = 10_000
    rto_min_ms: int = 10_000
    leaves: int = 16
    arbitration: Literal["fair", "fifo"] = "fair"
    lanes: bool = True
    tcp_rmem: str = "4096 262144 262144"
    tcp_wmem: str = "4096 1048576 1048576"
    congestion_control: str = "reno"

    def __post_init__(self) -> None:
        if not 576 <= self.mtu <= 65535:
            raise UsageError(f"an MTU of {self.mtu} bytes", hint="use 576 … 65535")
        if self.leaves < 1 or self.leaves & (self.leaves - 1) or self.leaves > 256:
            raise UsageError(f"{self.leaves} leaves", hint="use a power of two, 1 … 256")
        if self.queue_packets < 2:
            raise UsageError(f"a queue of {self.queue_packets} packets", hint="use 2 or more")
        if not 200 <= self.rto_min_ms <= 100_000:
            raise UsageError(f"an rto_min of {self.rto_min_ms} ms", hint="use 200ms … 100s")
        if self.gso_max_bytes is not None and not (
            self.mtu + _FRAME_OVERHEAD_BYTES <= self.gso_max_bytes <= GSO_LIMIT_BYTES
        ):
            raise UsageError(
                f"an aggregation limit of {self.gso_max_bytes} bytes with an MTU of {self.mtu}",
                hint=f"use {self.mtu + _FRAME_OVERHEAD_BYTES} … {GSO_LIMIT_BYTES}",
            )

    def gso_bytes(self, rate_bps: int | None) -> int:
        """The aggregation limit of a device on a link of this rate (None: unshaped)."""
        if self.gso_max_bytes is not None:
            return self.gso_max_bytes
        if rate_bps is None:
            return GSO_LIMIT_BYTES
        line = round(rate_bps / 8 * _AGGREGATION_S)
        return min(GSO_LIMIT_BYTES, max(self.mtu + _FRAME_OVERHEAD_BYTES, line))

    def link_burst_bytes(self, rate_bps: int) -> int:
        """What a link may send at once after it was idle."""
        if self.burst_bytes is not None:
            return self.burst_bytes
        return max(round(rate_bps / 8 * _AGGREGATION_S), 2 * self.gso_bytes(rate_bps))
