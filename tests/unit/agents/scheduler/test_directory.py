"""Whose cache has the longest part of a prefix."""

from __future__ import annotations

from agents.scheduler.directory import NOBODY, CacheDirectory


def test_the_longest_prefix_wins_and_of_equals_the_own_node() -> None:
    directory = CacheDirectory(["de0", "de1", "de2"])
    prefix = list(range(100, 110))
    assert directory.longest(prefix, "de1") == NOBODY
    directory.changed("de0", prefix[:4], [])
    directory.changed("de1", prefix[:4], [])
    assert directory.longest(prefix, "de1") == ("de1", 4)
    assert directory.longest(prefix, "de2") == ("de0", 4)
    directory.changed("de0", prefix[4:9], [])
    assert directory.longest(prefix, "de1") == ("de0", 9)
    assert directory.longest(prefix[:3], "de1") == ("de1", 3)
    directory.changed("de0", [], prefix[2:9])
    assert directory.longest(prefix, "de1") == ("de1", 4)


def test_a_lost_node_has_no_cache() -> None:
    directory = CacheDirectory(["de0", "de1"])
    directory.changed("de0", [1, 2, 3], [])
    directory.changed("de1", [1], [])
    directory.lose("de0")
    assert directory.longest([1, 2, 3], "de0") == ("de1", 1)
