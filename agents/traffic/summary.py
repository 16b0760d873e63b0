"""What the collectives of a run came to: how many layers each had, and how long they took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agents.distribution import distribution
from agents.records import CollectiveRecord


def collective_figures(
    records: Sequence[CollectiveRecord],
    roles: Mapping[str, str],
    window: tuple[float, float],
) -> dict[str, dict[str, Any]]:
    """Figures of the collectives that ended in a window, by the role of who began them.

    Args:
        records: of all engines.
        roles: HBM domain -> role.
        window: (open, close).

    Returns:
        role -> count, fused_layers (most that shared one), bytes (sent and received by those who
        began), completion_s and dispatch_s; a role without any is left out.
    """
    opened, closed = window
    by_role: dict[str, list[CollectiveRecord]] = {}
    for record in records:
        if opened <= record.t_end < closed:
            by_role.setdefault(roles[record.engine], []).append(record)
    return {
        role: {
            "count": len(found),
            "fused_layers": max(record.layers for record in found),
            "bytes": sum(record.size_bytes for record in found),
            "completion_s": distribution([r.t_end - r.t_start for r in found]),
            "dispatch_s": distribution([r.t_dispatched - r.t_start for r in found]),
        }
        for role, found in by_role.items()
    }
