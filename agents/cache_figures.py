"""What decode nodes' caches came to in a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agents.records import CacheRecord


def cache_figures(
    nodes: Sequence[CacheRecord], own_bytes: float, other_bytes: float, stored_bytes: float
) -> dict[str, Any] | None:
    """Sums over the nodes and the whole run, and shares in the window; None without caches.

    Args:
        nodes: of all decode nodes.
        own_bytes, other_bytes, stored_bytes: hit KV in the window from the cache of the request's
            own decode node, from another's, and from storage.
    """
    if not nodes:
        return None
    hit_bytes = own_bytes + other_bytes + stored_bytes
    return {
        "capacity_bytes": sum(node.capacity_bytes for node in nodes),
        "held_bytes": sum(node.held_bytes for node in nodes),
        "kept_bytes": sum(node.kept_bytes for node in nodes),
        "evicted_bytes": sum(node.evicted_bytes for node in nodes),
        "missed": sum(node.missed for node in nodes),
        "own_share": own_bytes / hit_bytes if hit_bytes else None,
        "other_share": other_bytes / hit_bytes if hit_bytes else None,
    }
