"""What a request costs on an idle cluster, beyond what its bytes and its compute take.

Round trips, TCP and Python are not scaled with the rates; whoever looks at a run must know how much
of a request's time they are.  Before the load, one request is served alone.  Its *overhead* is the
time from its assignment until all its KV is in decode HBM, over what that should take:

    read by the SNIC | layer groups into HBM and back, beside compute | DE buffer into decode HBM
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from agents.client.idle import IDLE_REQUEST
from agents.recorded import Run
from agents.records import IterationRecord, ProcessRecord, RequestRecord
from agents.settings import DualPathScenario
from testbed.fidelity.checks import Check
from testbed.fidelity.verdict import mtu_bytes
from testbed.kernel.samples import FRAME_HEADER_BYTES
from testbed.units import show_duration

OVERHEAD_SHARE = 0.03
_INSIDE_BYTES = 52  # of an IP packet: headers of IPv4 and of TCP with timestamps


class Rates(NamedTuple):
    """What carries a request, payload in bit/s.

    Args:
        snic: of the node that reads.
        into_hbm: between DRAM and HBM of a node: the CNIC, or PCIe.
        cnic: between nodes.
        shared: the way into HBM and that between nodes are the same CNIC.
    """

    snic: float
    into_hbm: float
    cnic: float
    shared: bool


def ideal_s(
    path: str, hit_bytes: float, miss_bytes: float, rates: Rates, compute_s: float, groups: int
) -> float:
    """From its assignment until all of a request's KV is in decode HBM, without any overhead.

    Args:
        path: "pe" or "de".
        hit_bytes, miss_bytes: KV of its prompt.
        rates: of the lines.
        compute_s: of its prefill.
        groups: layer groups, which are moved and computed side by side.
    """
    back = hit_bytes + miss_bytes if path == "pe" else miss_bytes
    if path == "pe" and rates.shared:  # loads and returns are both read by the prefill CNIC
        moving_s = (hit_bytes + back) * 8 / rates.cnic
    elif path == "pe":
        moving_s = max(hit_bytes * 8 / rates.into_hbm, back * 8 / rates.cnic)
    else:
        moving_s = max(hit_bytes, back) * 8 / rates.cnic
    # Two stages side by side: the first group of one, and the last of the other, are alone.
    beside_s = max(moving_s, compute_s) + min(moving_s, compute_s) / groups
    to_decode_s = (hit_bytes + miss_bytes) * 8 / rates.into_hbm
    return hit_bytes * 8 / rates.snic + beside_s + to_decode_s


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
        ideal_s: by its bytes and its compute alone.
        share: overhead over the ideal.
    """

    service_s: float
    ideal_s: float
    share: float


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
    should_s = ideal_s(
        request.path, hit, miss, _rates(run), compute_s, max(1, len(request.stalls_s))
    )
    took_s = request.t_decode_start - request.t_scheduled
    return Idle(took_s, should_s, took_s / should_s - 1)


def _rates(run: Run) -> Rates:
    """Payload rates of the cluster's lines."""
    mtu = mtu_bytes(run.plan)
    payload = (mtu - _INSIDE_BYTES) / (mtu - _INSIDE_BYTES + FRAME_HEADER_BYTES)
    line = {m.kind: m.rate_bps * payload for m in run.plan.meters if m.role == "prefill"}
    direct = run.scenario.traffic.mode == "direct"
    return Rates(line["snic"], line["pcie" if direct else "cnic"], line["cnic"], not direct)


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
        f"{idle.share:+.1%}: {show_duration(idle.service_s)} for {show_duration(idle.ideal_s)}",
        bound,
        "" if ok else "round trips, TCP and Python show: a smaller scale.bytes makes transfers "
        "larger, a larger scale.rate makes them slower; or other programs kept the machine busy",
        f"a request on the idle cluster was {-idle.share:.1%} faster than its lines: what links "
        "may send at once after a pause is large beside it, and hides as much overhead; a smaller "
        "network.gso_max or network.burst lessens it" if idle.share < -OVERHEAD_SHARE else "",
    )  # fmt: skip
