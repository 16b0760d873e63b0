"""Nothing that was sent was lost on its way, and next to nothing was sent twice.

Shapers count what they drop themselves (`testbed.fidelity.checks.drops`).  Here is what happens
around them: devices that drop, and senders that resend.
"""

from __future__ import annotations

from collections.abc import Mapping

from testbed.fidelity.checks import Check, named, unmeasured
from testbed.fidelity.sampler import DomainLinks, DomainTcp
from testbed.units import show_size

RETRANSMITTED_SHARE = 0.001
# What one connection has under way.  Processors of a busy machine may overtake each other with its
# packets once, whatever the length of the run.
NEEDLESS_BYTES = 128 * 1024
_LOST = ("rx_errors", "rx_drops", "tx_errors", "tx_drops")


def retransmissions(
    variant: str,
    before: DomainTcp | None,
    after: DomainTcp | None,
    sent_bytes: int,
    segment_bytes: int,
) -> Check:
    """Next to nothing was sent twice.

    TCP counts segments; taking each for a full one overstates the bytes, never the contrary.

    Args:
        variant: of the run.
        before, after: TCP counters of each domain, snmp_counter.rst of the kernel.
        sent_bytes: that crossed the shapers on their way out.
        segment_bytes: the largest packet.
    """
    name = "retransmitted bytes"
    bound = f"≤ {RETRANSMITTED_SHARE:.1%}, or {show_size(NEEDLESS_BYTES)} if needless"
    if not before or not after or sent_bytes <= 0:
        why = "nothing was sent" if before and after else "the TCP counters were not read"
        return unmeasured(name, variant, bound, why)
    # Domains come and go with the cluster only: one missing at an end is a defect.
    gone = sorted(set(before) ^ set(after))
    if gone:
        return unmeasured(name, variant, bound, f"no TCP counters at one end of {named(gone)}")
    grown = {d: _growth(before[d], after[d]) for d in after}
    if any("RetransSegs" not in counters for counters in grown.values()):
        return unmeasured(name, variant, bound, "the kernel does not count retransmissions")
    segments = {d: c["RetransSegs"] for d, c in grown.items() if c["RetransSegs"]}
    resent_bytes = sum(segments.values()) * segment_bytes
    timeouts, probes, needless = (
        sum(c.get(counter, 0) for c in grown.values())
        for counter in ("TCPTimeouts", "TCPLossProbes", "TCPDSACKRecv")
    )
    overtook = needless > 0 and not timeouts + probes
    allowed_bytes = max(RETRANSMITTED_SHARE * sent_bytes, NEEDLESS_BYTES if overtook else 0)
    ok = resent_bytes <= allowed_bytes
    reason = ""
    if not ok:
        worst = sorted(segments, key=lambda d: -segments[d])
        reason = f"segments sent twice: {named([f'{d} {segments[d]}' for d in worst])}; "
        reason += _why(timeouts + probes, needless)
    return Check(
        name, variant, ok,
        f"≤ {resent_bytes / sent_bytes:.3%} ({sum(segments.values())} segments, "
        f"{timeouts} timeouts, {probes} probes, {needless} found needless)",
        bound, reason,
    )  # fmt: skip


def _why(fired: int, needless: int) -> str:
    """What makes TCP resend: a timer, packets that overtake each other, or a loss.

    Args:
        fired: timers that did.
        needless: acknowledgements of data that arrived twice (RFC 2883).
    """
    if fired:
        return "timers fired while data waited in a queue: raise network.rto_min"
    if needless:
        return (
            "packets overtook each other, as they do when processors are busy and one is behind: "
            "stop what else runs here, or choose a larger scale.rate"
        )
    return "packets were lost: see which shaper or device dropped some"


def _growth(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    return {name: value - before.get(name, 0) for name, value in after.items()}


def losses(variant: str, before: DomainLinks | None, after: DomainLinks | None) -> Check:
    """No device dropped or spoilt a packet, shaped or not.

    Args:
        variant: of the run.
        before, after: counters of each domain's devices.
    """
    name, bound = "no packet lost by a device", "0 packets"
    if not before or not after:
        return unmeasured(name, variant, bound, "the devices' counters were not read")
    ends = [{(d, device) for d in side for device in side[d]} for side in (before, after)]
    gone = sorted(f"{domain}/{device}" for domain, device in ends[0] ^ ends[1])
    if gone:
        return unmeasured(name, variant, bound, f"no counters at one end of {named(gone)}")
    lost = {
        f"{domain}/{device} {counter}": count
        for domain, devices in after.items()
        for device, now in devices.items()
        for counter in _LOST
        if (count := getattr(now, counter) - getattr(before[domain][device], counter))
    }
    reason = ""
    if lost:
        worst = sorted(lost, key=lambda label: -lost[label])
        reason = f"{named([f'{label} {lost[label]}' for label in worst])}: " + (
            "something filters packets there, or the machine had no time for them"
        )
    return Check(
        name, variant, not lost,
        f"{sum(lost.values())} packets at {len(ends[0])} devices", bound, reason,
    )  # fmt: skip
