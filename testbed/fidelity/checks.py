"""What must hold of a run's network before its figures may be believed.

Pure functions over what was sampled.  Each returns one `Check`; what could not be measured is
never taken for good: its `ok` is None, and it fails the verdict like a False.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec
import numpy as np

from testbed.kernel.samples import MeterSample
from testbed.plan.model import NicKind
from testbed.units import show_duration, show_rate, show_size

Samples = Sequence[Sequence[MeterSample]]
Nic = tuple[str, str]  # (nic, direction)

ACCOUNT_SHARE = 0.02
ACCOUNT_BYTES = 64 * 1024
SAMPLE_GAP_S = 1.0
SAMPLE_STEP_S = 0.1
RATE_SPAN_S = 1.0
MANAGEMENT_SHARE = 0.05
MANAGEMENT_BYTES = 4 * 1024 * 1024
MANAGEMENT_IDLE_SHARE = 0.01
_NAMED = 3  # elements that a reason names
_SENDING = ("out", "read")  # each byte crosses one NIC in one of these directions


class Check(msgspec.Struct, frozen=True):
    """One thing that had to hold.

    Args:
        name: what, in a few words.
        variant: in which variant.
        ok: it held; None means that it could not be measured, which fails too.
        measured, bound: for people, with units.
        reason: why it failed, and what to do; empty if it did not.
        remark: what whoever reads the figures should know, though it held.
        limits: the bound in numbers, by what it is of ("cpu_share", "p99_s"), where that is drawn.
    """

    name: str
    variant: str
    ok: bool | None
    measured: str
    bound: str
    reason: str
    remark: str = ""
    limits: dict[str, float] = {}


def unmeasured(name: str, variant: str, bound: str, reason: str) -> Check:
    """A check that could not be made."""
    return Check(name, variant, None, "not measured", bound, reason)


def named(parts: Sequence[str]) -> str:
    """The first few elements of a reason, and how many more there are."""
    more = f" and {len(parts) - _NAMED} more" if len(parts) > _NAMED else ""
    return ", ".join(parts[:_NAMED]) + more


def _label(sample: MeterSample) -> str:
    return f"{sample.nic} {sample.direction}"


def carried(samples: Samples) -> dict[Nic, int]:
    """Bytes of each NIC and direction between the first and the last sample."""
    return {
        (last.nic, last.direction): last.bytes - first.bytes
        for first, last in zip(samples[0], samples[-1], strict=True)
    }


def payload(samples: Samples) -> dict[Nic, int]:
    """Bytes of TCP payload of each NIC and direction between the first and the last sample."""
    return {
        (last.nic, last.direction): last.payload_bytes - first.payload_bytes
        for first, last in zip(samples[0], samples[-1], strict=True)
    }


def as_planned(variant: str, differences: Sequence[str] | None) -> Check:
    """At the end the kernel still held what the plan asks for, and nothing else."""
    name, bound = "cluster as planned to the end", "no difference"
    if differences is None:
        return unmeasured(name, variant, bound, "the cluster was not compared with its plan")
    return Check(
        name, variant, not differences, f"{len(differences)} differences", bound,
        f"{'; '.join(differences[:_NAMED])}: something changed it behind the testbed's back"
        if differences else "",
    )  # fmt: skip


def sampling(variant: str, samples: Samples, lost: str = "") -> Check:
    """The counters were read throughout.

    Args:
        variant: of the run.
        samples: the counters.
        lost: why they end before the run does.
    """
    name, bound = "counters read throughout", f"gaps ≤ {show_duration(SAMPLE_GAP_S)}"
    if lost:
        return Check(name, variant, False, f"{len(samples)} samples, then no more", bound, lost)
    if len(samples) < 2 or not samples[0]:
        return unmeasured(name, variant, bound, "there are fewer than two samples of the NICs")
    times = np.array([row[0].t_s for row in samples])
    gap_s = float(np.diff(times).max())
    return Check(
        name, variant, gap_s <= SAMPLE_GAP_S,
        f"{len(samples)} samples, longest gap {show_duration(gap_s)}", bound,
        "" if gap_s <= SAMPLE_GAP_S else "the machine was too busy to watch the run",
    )  # fmt: skip


def drops(variant: str, samples: Samples) -> Check:
    """No shaper dropped a packet: the fabric that is emulated is lossless."""
    name, bound = "no drop", "0 packets"
    if len(samples) < 2:
        return unmeasured(name, variant, bound, "there are fewer than two samples of the NICs")
    lost = {
        _label(last): last.drops - first.drops
        for first, last in zip(samples[0], samples[-1], strict=True)
        if last.drops != first.drops
    }
    reason = ""
    if lost:
        where = sorted(lost, key=lambda label: -lost[label])
        reason = f"{named([f'{label} dropped {lost[label]}' for label in where])}: " + (
            "deepen the queues (network.queue_packets) or bound the socket buffers"
        )
    return Check(name, variant, not lost, f"{sum(lost.values())} packets", bound, reason)


def rates(variant: str, samples: Samples, bursts_bytes: Mapping[Nic, int]) -> Check:
    """No NIC carried more than its rate allows, over the run and over any second of it.

    Args:
        variant: of the run.
        samples: the counters.
        bursts_bytes: (nic, direction) -> sum of the bursts of its shaper's classes.
    """
    name, bound = "no NIC above its rate", "rate × time + bursts"
    if len(samples) < 2:
        return unmeasured(name, variant, bound, "there are fewer than two samples of the NICs")
    over: dict[str, float] = {}
    fullest = 0.0
    waits = sum(b.overlimits - a.overlimits for a, b in zip(samples[0], samples[-1], strict=True))
    for index, meter in enumerate(samples[-1]):
        burst = bursts_bytes.get((meter.nic, meter.direction))
        if burst is None:
            return unmeasured(name, variant, bound, f"the plan has no shaper for {_label(meter)}")
        t_s = np.array([row[index].t_s for row in samples])
        size = np.array([row[index].bytes for row in samples], dtype=float)
        # A sample is stamped before it is read, and on a busy machine long before; what is sure is
        # that it was read before the next one was stamped.
        read_s = np.append(t_s[1:], t_s[-1] + SAMPLE_STEP_S)
        # Spans of about a second, one from each sample; and the whole run.
        ends = np.searchsorted(t_s, t_s + RATE_SPAN_S)
        inside = ends < len(t_s)
        starts = np.append(np.flatnonzero(inside), 0)
        ends = np.append(ends[inside], len(t_s) - 1)
        took_s = read_s[ends] - t_s[starts]
        may = meter.rate_bps / 8 * took_s + burst
        share = float(((size[ends] - size[starts]) / may).max())
        fullest = max(fullest, share)
        if share > 1:
            over[f"{_label(meter)} ({show_rate(meter.rate_bps)}/s)"] = share
    reason = ""
    if over:
        worst = sorted(over, key=lambda label: -over[label])
        reason = f"{named([f'{label} carried {over[label]:.1%}' for label in worst])} " + (
            "of what its shaper may let through: the shaping has a hole"
        )
    return Check(
        name, variant, not over,
        f"fullest at {fullest:.1%} of its bound; packets waited for their rate {waits} times "
        "(overlimits)",
        bound, reason,
    )  # fmt: skip


def unclassified(variant: str, samples: Samples) -> Check:
    """Every byte was in a lane, since the cluster was made."""
    name, bound = "nothing unclassified", "0 bytes, 0 packets past the classes"
    if not samples:
        return unmeasured(name, variant, bound, "there is no sample of the NICs")
    stray = {
        _label(s): (s.unclassified_bytes, s.direct_packets)
        for s in samples[-1]
        if s.unclassified_bytes or s.direct_packets
    }
    size = sum(each for each, _ in stray.values())
    packets = sum(each for _, each in stray.values())
    reason = ""
    if packets:
        past = sorted(label for label, (_, direct) in stray.items() if direct)
        reason = (
            f"packets went past the classes of {named(past)}: a socket's priority (SO_PRIORITY) "
            "names the shaper, or its class for what is not classified is gone"
        )
    elif stray:
        reason = f"no lane is meant for traffic at {named(sorted(stray))}: is it not IPv4?"
    return Check(
        name, variant, not stray, f"{show_size(size)}, {packets} packets past the classes",
        bound, reason,
    )  # fmt: skip


def accounts(
    variant: str,
    samples: Samples,
    account: Mapping[Nic, float],
    *,
    not_accounted: Iterable[NicKind] = ("mgmt",),
    unaccounted: Collection[Nic] = (),
    lost: str = "",
) -> Check:
    """The kernel's bytes are those that the workload says crossed each NIC.

    A NIC that is not in the account should have carried nothing.

    Args:
        variant: of the run.
        samples: the counters; what is compared is first to last.
        account: (nic, direction) -> bytes of TCP payload.
        not_accounted: kinds of NIC that nobody keeps an account of.
        unaccounted: NICs whose account is lost.
        lost: why the counters end before the account does.
    """
    name = "kernel and workload agree"
    bound = f"within {ACCOUNT_SHARE:.0%} or {show_size(ACCOUNT_BYTES)}"
    if len(samples) < 2:
        return unmeasured(name, variant, bound, "there are fewer than two samples of the NICs")
    if lost:
        return unmeasured(name, variant, bound, "the counters ended before the run did")
    if not account:
        return unmeasured(name, variant, bound, "the workload gave no account of its bytes")
    left_out = set(not_accounted)
    kernel = payload(samples)
    compared = {(s.nic, s.direction) for s in samples[-1] if s.kind not in left_out}
    unknown = sorted(f"{nic} {direction}" for nic, direction in set(account) - set(kernel))
    if unknown:
        return Check(
            name, variant, False, f"{len(unknown)} NICs without a counter", bound,
            f"the account names {named(unknown)}, which the cluster does not have",
        )  # fmt: skip
    compared = (compared | set(account)) - set(unaccounted)
    if not compared:
        return unmeasured(name, variant, bound, "whoever kept the accounts is lost")
    apart: dict[str, tuple[float, float]] = {}
    widest = 0.0
    for nic in compared:
        found, said = kernel[nic], account.get(nic, 0.0)
        difference = abs(found - said)
        if difference > ACCOUNT_BYTES:
            share = difference / max(found, said)
            widest = max(widest, share)
            if share > ACCOUNT_SHARE:
                apart[" ".join(nic)] = (found, said)
    reason = ""
    if apart:
        worst = sorted(apart, key=lambda label: -abs(apart[label][0] - apart[label][1]))
        reason = named(
            [
                f"{label} {show_size(apart[label][0])} in the kernel, "
                f"{show_size(apart[label][1])} in the account"
                for label in worst
            ]
        )
    return Check(
        name, variant, not apart,
        f"{len(compared)} counters, widest {widest:.2%} apart" if widest
        else f"{len(compared)} counters, all within {show_size(ACCOUNT_BYTES)}",
        bound, reason,
    )  # fmt: skip


def management(variant: str, samples: Samples) -> Check:
    """The management network carried control messages, not payload."""
    name = "no bulk on the management network"
    bound = f"≤ {MANAGEMENT_SHARE:.0%} of the payload's, or {show_size(MANAGEMENT_BYTES)}"
    if len(samples) < 2:
        return unmeasured(name, variant, bound, "there are fewer than two samples of the NICs")
    sizes = carried(samples)
    control = {s.nic: sizes[s.nic, s.direction] for s in samples[-1]
               if s.kind == "mgmt" and s.direction in _SENDING}  # fmt: skip
    payload = sum(sizes[s.nic, s.direction] for s in samples[-1]
                  if s.kind != "mgmt" and s.direction in _SENDING)  # fmt: skip
    total = sum(control.values())
    most_bytes = max(MANAGEMENT_SHARE * payload, MANAGEMENT_BYTES)
    if not payload:
        # A variant that moves nothing still schedules: there is only the line to compare with.
        bound = f"≤ {MANAGEMENT_IDLE_SHARE:.0%} of its lines where there is no payload"
        took_s = samples[-1][0].t_s - samples[0][0].t_s
        lines_bps = sum(s.rate_bps for s in samples[-1] if s.nic in control and s.direction in
                        _SENDING)  # fmt: skip
        most_bytes = max(MANAGEMENT_BYTES, MANAGEMENT_IDLE_SHARE * lines_bps / 8 * took_s)
    ok = total <= most_bytes
    reason = ""
    if not ok:
        most = sorted(control, key=lambda nic: -control[nic])
        reason = "most was sent by " + named([f"{n} ({show_size(control[n])})" for n in most])
    return Check(
        name, variant, ok, f"{show_size(total)} beside {show_size(payload)}", bound, reason
    )


def sent_bytes(samples: Samples) -> int:
    """Bytes that crossed the shapers, each counted where it was sent."""
    if len(samples) < 2:
        return 0
    return sum(size for (_, direction), size in carried(samples).items() if direction in _SENDING)
