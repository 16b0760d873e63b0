"""What is sampled of a running cluster, as records that are sent over a socket.

Apart from the code that takes the samples, so that reading them needs no netlink library.
"""

from __future__ import annotations

import msgspec

FRAME_HEADER_BYTES = 66  # of a TCP segment with timestamps, Ethernet and IPv4 included


class LaneSample(msgspec.Struct, frozen=True, array_like=True):
    """What an HTB class has let through since it was made.

    The kernel counts drops and backlog at leaves and at the whole qdisc, but not at the inner
    class that a lane is; see `MeterSample` and `LeafSample` for these.
    """

    bytes: int  # with the headers of every segment, as on a wire
    packets: int
    overlimits: int  # times that it had to wait for its rate

    @property
    def payload_bytes(self) -> int:
        """Bytes of TCP payload, see `MeterSample.payload_bytes`."""
        return self.bytes - self.packets * FRAME_HEADER_BYTES


class MeterSample(msgspec.Struct, frozen=True, array_like=True):
    """The counters of one direction of one NIC, since the cluster was made.

    The identity is that of `testbed.plan.model.Meter`.

    Args:
        t_s: when, time.monotonic().
        bytes, packets: in all, with the headers of every segment.
        drops, overlimits, requeues: in all.
        backlog_bytes, backlog_packets: waiting at that moment.
        direct_packets: went past every class: the shaping has a hole if there are any.
        unclassified_bytes: in the default leaf: traffic that no lane is meant for.
        lanes: name -> counters, the unclassified one too.
    """

    t_s: float
    nic: str
    kind: str
    node: str
    role: str
    direction: str
    rate_bps: int
    bytes: int
    packets: int
    drops: int
    overlimits: int
    requeues: int
    backlog_bytes: int
    backlog_packets: int
    direct_packets: int
    unclassified_bytes: int
    lanes: dict[str, LaneSample]

    @property
    def payload_bytes(self) -> int:
        """Bytes of TCP payload.

        The shapers count every segment with its headers, also of ACKs; each packet has as many
        header bytes as the next: Ethernet 14, IPv4 20, TCP 20 and 12 of timestamps (RFC 7323).
        """
        return self.bytes - self.packets * FRAME_HEADER_BYTES


class LeafSample(msgspec.Struct, frozen=True, array_like=True):
    """The counters of one leaf class of a meter's shaper."""

    nic: str
    direction: str
    classid: int
    parent: int
    bytes: int
    packets: int
    drops: int
    backlog_bytes: int
    backlog_packets: int


class LinkSample(msgspec.Struct, frozen=True, array_like=True):
    """The counters of one device, proc_net_dev(5).  An aggregate's headers count once here."""

    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_drops: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_drops: int
