"""What a request costs on an idle cluster, beyond what its bytes and its compute take.

Round trips, TCP and Python are not scaled with the rates; whoever looks at a run must know how much
of a request's time they are.  Before the load, one request is served alone.  Its time from its
assignment until all its KV is in decode HBM should be, by the lines' rates:

    read by the SNIC | layer groups into HBM and back, beside compute | DE buffer into decode HBM

A link that was idle sends its first bytes at once (a shaper's burst), so that the emulated cluster
needs less than that.  *Overhead* is what the request took beyond what the cluster needs: else
bursts would hide as much of it.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from agents.client.idle import IDLE_REQUEST
from agents.recorded import Run
from agents.records import IterationRecord, ProcessRecord, RequestRecord
from agents.settings import DualPathScenario
from testbed.fidelity.checks import Check
from testbed.fidelity.verdict import at_once_bytes, mtu_bytes
from testbed.kernel.samples import FRAME_HEADER_BYTES
from testbed.units import show_duration

OVERHEAD_SHARE = 0.03
_INSIDE_BYTES = 52  # of an IP packet: headers of IPv4 and of TCP with timestamps


class Line(NamedTuple):
    """A link, in payload.

    Args:
        rate_bps: of it.
        at_once_bytes: that it sends at once after it was idle.
    """

    rate_bps: float
    at_once_bytes: float = 0.0

    def takes_s(self, size_bytes: float) -> float:
        """For so much, after it was idle."""
        return max(0.0, size_bytes - self.at_once_bytes) * 8 / self.rate_bps


class Lines(NamedTuple):
    """What carries a request.

    Args:
        snic: of the node that reads.
        into_hbm: between DRAM and HBM of a node: the CNIC, or PCIe.
        cnic: between nodes.
        shared: the way into HBM and that between nodes are the same CNIC.
    """

    snic: Line
    into_hbm: Line
    cnic: Line
    shared: bool

    @property
    def without_bursts(self) -> Lines:
        """The lines of the real cluster."""
        snic, into_hbm, cnic = (
            Line(line.rate_bps) for line in (self.snic, self.into_hbm, self.cnic)
        )
        return Lines(snic, into_hbm, cnic, self.shared)


def ideal_s(
    path: str, hit_bytes: float, miss_bytes: float, lines: Lines, compute_s: float, groups: int
) -> float:
    """From its assignment until all of a request's KV is in decode HBM, without any overhead.

    Args:
        path: "pe" or "de".
        hit_bytes, miss_bytes: KV of its prompt.
        lines: that carry it.
        compute_s: of its prefill.
        groups: layer groups, which are moved and computed side by side.
    """
    back = hit_bytes + miss_bytes if path == "pe" else miss_bytes
    if path == "pe" and lines.shared:  # loads and returns are both read by the prefill CNIC
        moving_s = lines.cnic.takes_s(hit_bytes + back)
    elif path == "pe":
        moving_s = max(lines.into_hbm.takes_s(hit_bytes), lines.cnic.takes_s(back))
    else:
        moving_s = lines.cnic.takes_s(max(hit_bytes, back))
    # Two stages side by side: the first group of one, and the last of the other, are alone.
    beside_s = max(moving_s, compute_s) + min(moving_s, compute_s) / groups
    to_decode_s = lines.into_hbm.takes_s(hit_bytes + miss_bytes)
    return lines.snic.takes_s(hit_bytes) + beside_s + to_decode_s


def has_idle_request(scenario: DualPathScenario, variant: str) -> bool:
    """Whether a variant serves one request alone first.

    A cold start has nothing to read, real tokens take the machine's own time, and emulated
    submission is an overhead on purpose.
    """
    return (
        scenario.calibration
        and scenario.workload.start == "warm"
        and scenario.kv == "generated"
        and not scenario.traffic.submission_cost
        and scenario.variants[variant].moves_kv
    )


class Idle(msgspec.Struct, frozen=True):
    """The idle request.

    Args:
        service_s: measured, from its assignment until all of its KV was in decode HBM.
        ideal_s: by its bytes and its compute alone, on the lines of the real cluster.
        least_s: the same on the emulated ones, with what they send at once.
    """

    service_s: float
    ideal_s: float
    least_s: float

    @property
    def share(self) -> float:
        """Overhead over the ideal."""
        return (self.service_s - self.least_s) / self.ideal_s

    @property
    def gained(self) -> float:
        """By how much it was faster than on the lines of the real cluster."""
        return 1 - self.service_s / self.ideal_s


def idle_overhead(run: Run) -> Idle | None:
    """What the idle request of a run took; None if there was none, or its way has no formula."""
    found = [r for r in run.of(RequestRecord) if r.request == IDLE_REQUEST and not r.error]
    if not found or found[0].path not in ("pe", "de") or found[0].reloaded_bytes:
        return None
    (request,) = found
    layout = run.scenario.layout
    token_bytes = layout.full_block_bytes / layout.block_tokens
    hit = request.hit_tokens * token_bytes
    miss = (request.prompt_tokens - request.hit_tokens) * token_bytes
    compute_s = sum(
        i.attention_s + i.ffn_s
        for i in run.of(IterationRecord)
        if i.engine == request.prefill and i.t_start < request.t_first_token
    )
    lines, groups = _lines(run), max(1, len(request.stalls_s))
    real_s, least_s = (
        ideal_s(request.path, hit, miss, each, compute_s, groups)
        for each in (lines.without_bursts, lines)
    )
    return Idle(request.t_decode_start - request.t_scheduled, real_s, least_s)


def _lines(run: Run) -> Lines:
    """The cluster's lines."""
    mtu = mtu_bytes(run.plan)
    payload = (mtu - _INSIDE_BYTES) / (mtu - _INSIDE_BYTES + FRAME_HEADER_BYTES)
    at_once = at_once_bytes(run.plan)
    line = {
        m.kind: Line(m.rate_bps * payload, at_once[m.nic, m.direction] * payload)
        for m in run.plan.meters
        if m.role == "prefill"
    }
    direct = run.scenario.traffic.mode == "direct"
    return Lines(line["snic"], line["pcie" if direct else "cnic"], line["cnic"], not direct)


def check(run: Run) -> Check:
    """An idle cluster serves a request in about the time that its bytes and compute take."""
    name, bound = "overhead of an idle request", f"≤ {OVERHEAD_SHARE:.0%} of its service time"
    tried = [r for r in run.of(RequestRecord) if r.request == IDLE_REQUEST]
    failed = [r.error for r in tried if r.error]
    if not tried and not any(p.laid_down_bytes for p in run.of(ProcessRecord)):
        return Check(name, run.variant, True, "not asked: nothing lay in storage", bound, "")
    if not tried or failed:
        why = failed[0] if failed else "the run ended before it was served"
        return Check(name, run.variant, None, "not measured", bound, why)
    idle = idle_overhead(run)
    if idle is None:
        path = tried[0].path + (", loaded twice" if tried[0].reloaded_bytes else "")
        return Check(name, run.variant, True, f"no formula for path {path}", bound, "")
    ok = idle.share <= OVERHEAD_SHARE
    return Check(
        name, run.variant, ok,
        f"{idle.share:+.1%}: {show_duration(idle.service_s)} for {show_duration(idle.least_s)} "
        f"({show_duration(idle.ideal_s)} without bursts)",
        bound,
        "" if ok else "round trips, TCP and Python show: a smaller scale.bytes makes transfers "
        "larger, a larger scale.rate makes them slower; or other programs kept the machine busy",
        f"a request on the idle cluster was {idle.gained:.1%} faster than on the real one: what "
        "links send at once after a pause is large beside it; a smaller network.gso_max, or larger "
        "transfers (scale.bytes), lessens it" if idle.gained > OVERHEAD_SHARE else "",
    )  # fmt: skip
