"""What a run loaded its NICs with in the steady window, and which of them bound it.

Loads are measured from bytes that *arrived* in the window, and stand beside the formulae's
(`agents.nics`).
"""

from __future__ import annotations

import math

from agents.engine_figures import always_at_work, run_engines
from agents.nics import Load, Shares, load_table
from agents.read_queues import empty_s
from agents.recorded import Run
from agents.records import RequestRecord, TransferRecord

_BUSY = 0.97  # a NIC this full binds


def shares(run: Run) -> Shares | None:
    """a, m, w and the write-back share, measured in the window from what arrived."""
    if run.window is None or not run.reads:
        return None
    transfers = run.of(TransferRecord)
    loaded = run.bytes_in_window(run.reads)
    total = math.fsum(loaded)  # exact, whatever the order: all of it is a share of exactly 1
    if total <= 0:
        return None
    roles = {name: domain.role for name, domain in run.plan.domains.items()}
    prefill = math.fsum(
        size for t, size in zip(run.reads, loaded, strict=True) if roles[t.target] == "prefill"
    )
    by_request = {r.request: r for r in run.of(RequestRecord)}
    # A request's miss bytes follow from its tokens; they travel when its KV returns.
    done = run.in_window(list(by_request.values()), "t_first_token")
    hit = sum(r.hit_tokens for r in done)
    miss = sum(r.prompt_tokens - r.hit_tokens for r in done)
    generated = float(run.bytes_in_window([t for t in transfers if t.kind == "d2h"]).sum())
    written = float(run.bytes_in_window([t for t in transfers if t.kind == "storage_write"]).sum())
    return Shares(prefill / total, miss / hit if hit else 0.0, generated / total, written / total)


def nic_loads(run: Run) -> list[Load]:
    """Measured NIC loads beside the formulae; empty without a window or reads.

    The formulae are of KV that is read from storage: with any from caches they say nothing.
    """
    measured = shares(run)
    if run.window is None or measured is None or run.from_caches:
        return []
    opened, closed = run.window
    read_bps = float(run.bytes_in_window(run.reads).sum()) * 8 / (closed - opened)
    roles = {d.node: d.role for d in run.plan.domains.values()}
    payload_bps = run.nics.payload_bps(opened, closed)
    loopback = run.scenario.traffic.mode != "direct"
    return load_table(payload_bps, roles, read_bps, measured, loopback=loopback)


def _reading_roles(run: Run) -> set[str]:
    """Roles of the nodes whose SNICs the policy may read by."""
    policy = run.scenario.variants[run.variant].policy
    return {"pe-only": {"prefill"}, "de-only": {"decode"}}.get(policy, {"prefill", "decode"})


def read_queues_empty_s(run: Run) -> dict[str, float]:
    """Node -> how long in the window its read queue was empty; of nodes that may read."""
    if run.window is None:
        return {}
    usable = _reading_roles(run)
    nodes = [d.name for d in run.plan.domains.values() if d.kind == "dram" and d.role in usable]
    return empty_s(run.of(RequestRecord), nodes, run.window)


def bound_by(run: Run) -> str:
    """What limited the run: "storage", a NIC class, "compute", or "load" if nothing was full.

    Storage: every SNIC that the policy may use is busy, and none of its read queues ever empty.
    """
    if run.window is None:
        return "unknown"
    busy = run.nics.utilisation(*run.window)
    kinds = {(m.nic, m.direction): m for m in run.nics.meters}
    usable = _reading_roles(run)
    snics = {
        kinds[name].node: share
        for name, share in busy.items()
        if kinds[name].kind == "snic" and name[1] == "in" and kinds[name].role in usable
    }
    if snics and min(snics.values()) >= _BUSY and not any(read_queues_empty_s(run).values()):
        return "storage"
    full = [
        (share, f"{'pe' if kinds[name].role == 'prefill' else 'de'}-{kinds[name].kind}-{name[1]}")
        for name, share in busy.items()
        if kinds[name].role in ("prefill", "decode") and share >= _BUSY
    ]
    if full:
        return max(full)[1]
    return "compute" if always_at_work(run_engines(run, run.window)["gpu_time"]) else "load"
