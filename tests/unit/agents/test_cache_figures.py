"""Figures of caches: sums and shares."""

from __future__ import annotations

from agents.cache_figures import cache_figures
from agents.records import CacheRecord


def test_nodes_add_up_and_shares_are_of_all_hits() -> None:
    nodes = [CacheRecord("de0", 100, 50, 80, 30, 1), CacheRecord("de1", 100, 10, 10, 0, 0)]
    found = cache_figures(nodes, 30.0, 10.0, 60.0)
    assert found == {
        "capacity_bytes": 200,
        "held_bytes": 60,
        "kept_bytes": 90,
        "evicted_bytes": 30,
        "missed": 1,
        "own_share": 0.3,
        "other_share": 0.1,
    }
    assert cache_figures([], 0.0, 0.0, 9.0) is None
    nothing = cache_figures(nodes, 0.0, 0.0, 0.0)
    assert nothing is not None and nothing["own_share"] is None
