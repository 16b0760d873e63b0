"""What limited a run, by what was seen in its window."""

from __future__ import annotations

from agents.engine_figures import always_at_work, engine_figures_of
from agents.read_queues import empty_s
from agents.recorded import Run
from agents.records import RequestRecord

_BUSY = 0.97  # a NIC this full binds


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


def bound_by(run: Run) -> str:
    """What limited the run: "storage", a NIC class, "compute", or "load" if nothing was full.

    Storage: every SNIC that the policy may use is busy, and none of its read queues ever empty.
    """
    if run.window is None:
        return "unknown"
    busy = run.nics.utilisation(*run.window)
    kinds = {(m.nic, m.direction): m for m in run.nics.meters}
    roles = usable(run)
    snics = {
        kinds[name].node: share
        for name, share in busy.items()
        if kinds[name].kind == "snic" and name[1] == "in" and kinds[name].role in roles
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
    return "compute" if always_at_work(engine_figures_of(run)["gpu_time"]) else "load"
