"""What limited a run, by what was seen in its window: in full, and in the words of a prediction."""

from __future__ import annotations

from statistics import fmean

from agents import resources
from agents.engine_figures import always_at_work, engine_figures_of
from agents.read_queues import empty_s, uncovered_s
from agents.recorded import Run
from agents.records import RequestRecord, TransferRecord

_BUSY = 0.97  # a NIC this full binds
_MOST_FREE = 0.05  # share of the time in which nobody waits for HBM that binds
_SIDES = {"prefill": "pe", "decode": "de", "storage": "storage"}


def bound_by(run: Run) -> str:
    """What limited the run: "storage", a NIC class, "compute", or "load" if nothing was full.

    Storage: every SNIC that the policy may use is busy, and none of its read queues ever empty.
    """
    if run.window is None:
        return "unknown"
    if _storage_bound(run):
        return "storage"
    if full := _full(run):
        return full[0]
    return "compute" if always_at_work(engine_figures_of(run)["gpu_time"]) else "load"


def binds(run: Run) -> str | None:
    """The same in the words of a prediction (`agents.resources`); None without a window.

    Where a prediction has HBM or arrivals to name, so has this: HBM of decode engines binds if next
    to always a prompt waits for it.
    """
    if run.window is None:
        return None
    if _storage_bound(run):
        return resources.of_readers({_SIDES[role] for role in usable(run)})
    if full := _full(run):
        return resources.of_nics(full, full[0])
    if always_at_work(engine_figures_of(run)["gpu_time"]):
        return resources.PREFILL_COMPUTE
    if _hbm_free_share(run) <= _MOST_FREE:
        return resources.DECODE_HBM
    return resources.ARRIVALS if run.scenario.workload.open_loop else resources.LOAD


def usable(run: Run) -> set[str]:
    """Roles of the nodes whose SNICs the policy may read by."""
    policy = run.scenario.variants[run.variant].policy
    return {"pe-only": {"prefill"}, "de-only": {"decode"}}.get(policy, {"prefill", "decode"})


def read_queues_empty_s(run: Run) -> dict[str, float]:
    """Node -> how long in the window its read queue was empty; of nodes that may read."""
    if run.window is None:
        return {}
    roles = usable(run)
    nodes = [d.name for d in run.plan.domains.values() if d.kind == "dram" and d.role in roles]
    return empty_s(run.of(RequestRecord), nodes, run.window)


def _storage_bound(run: Run) -> bool:
    assert run.window is not None
    busy, roles = run.nics.utilisation(*run.window), usable(run)
    snics = [
        busy[m.nic, m.direction]
        for m in run.nics.meters
        if m.kind == "snic" and m.direction == "in" and m.role in roles
    ]
    return bool(snics) and min(snics) >= _BUSY and not any(read_queues_empty_s(run).values())


def _full(run: Run) -> list[str]:
    """Classes with a NIC that was full, the fullest first; storage's behind those it serves."""
    assert run.window is not None
    busy = run.nics.utilisation(*run.window)
    seen = [
        (m.role != "storage", busy[m.nic, m.direction], f"{_SIDES[m.role]}-{m.kind}-{m.direction}")
        for m in run.nics.meters
        if m.role in _SIDES and busy[m.nic, m.direction] >= _BUSY
    ]
    return list(dict.fromkeys(name for _, _, name in sorted(seen, reverse=True)))


def _hbm_free_share(run: Run) -> float:
    """Share of the window in which no prompt waited for HBM, mean over decode engines."""
    assert run.window is not None
    copied: dict[int, float] = {}
    for t in run.of(TransferRecord):
        if t.kind == "h2d" and t.t_posted:
            copied[t.request] = min(t.t_posted, copied.get(t.request, t.t_posted))
    spans: dict[str, list[tuple[float, float]]] = {
        d.name: [] for d in run.plan.domains.values() if d.kind == "hbm" and d.role == "decode"
    }
    for r in run.of(RequestRecord):
        until = copied.get(r.served_as) or r.t_decode_start
        if r.decode in spans and until > r.t_first_token > 0:
            spans[r.decode].append((r.t_first_token, until))
    opened, closed = run.window
    free = [uncovered_s(each, opened, closed) / (closed - opened) for each in spans.values()]
    return fmean(free) if free else 1.0
