"""What a run loaded its NICs with in the steady window, beside the formulae's.

Shares are measured from bytes that *arrived* in the window; the table is `agents.nics`'s.
"""

from __future__ import annotations

import math

from agents.nics import Load, Shares, load_table
from agents.recorded import Run
from agents.records import RequestRecord, TransferRecord


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
