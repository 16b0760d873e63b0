"""The prefix cache of a decode node: what it holds, gives, evicts and tells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.blocks.layout import KVLayout
from agents.blocks.maker import Part
from agents.engines.cache import NotCached, PrefixCache

LAYOUT = KVLayout(layers=3, layer_block_bytes=64, block_tokens=64)
SIZE = LAYOUT.full_block_bytes


def hashes(session: int, blocks: int) -> np.ndarray:
    """A prefix of its own for each session."""
    return np.arange(1, blocks + 1, dtype="<u8") + np.uint64(session << 32)


def content(block: int) -> bytes:
    return np.random.default_rng(block).bytes(SIZE)


def full(names: np.ndarray, first: int = 0) -> list[Part]:
    """Blocks from `first` on as Full Blocks."""
    memory = memoryview(b"".join(content(int(name)) for name in names[first:]))
    return [Part(first, len(names) - first, 0, LAYOUT.layers, LAYOUT.block_tokens, memory)]


def by_layers(names: np.ndarray) -> list[Part]:
    """The same blocks in group form: two layers, then one; and a tail behind them."""
    parts = []
    for first, count in ((0, 2), (2, 1)):
        size = LAYOUT.layer_block_bytes
        rows = [content(int(name))[first * size : (first + count) * size] for name in names]
        memory = memoryview(b"".join(rows) + b"tail")
        parts.append(Part(0, len(names) + 1, first, count, 10, memory))
    return parts


def made(blocks: int) -> PrefixCache:
    return PrefixCache(blocks * SIZE + 1, LAYOUT, "de0 cache")


def read(cache: PrefixCache, names: np.ndarray) -> bytes:
    held = cache.hold(names)
    found = b"".join(held.views)
    cache.let_go(held)
    return found


def test_blocks_come_back_byte_for_byte_from_full_blocks_and_from_groups() -> None:
    cache, names = made(8), hashes(1, 4)
    assert cache.keep(names, 0, 4, by_layers(names)) == 4 * SIZE
    more = hashes(1, 6)
    assert cache.keep(more, 4, 2, full(more, 4)) == 2 * SIZE
    assert read(cache, more) == b"".join(content(int(name)) for name in more)
    assert len(cache.hold(more).views) == 1  # neighbours in one
    assert cache.keep(more, 0, 6, []) == 0  # nothing is copied twice
    assert cache.held_bytes == 6 * SIZE


def test_the_least_recently_used_end_goes_first_and_what_is_held_stays() -> None:
    cache, old, new = made(5), hashes(1, 3), hashes(2, 4)
    cache.keep(old, 0, 3, full(old))
    held = cache.hold(old[:2])
    assert cache.keep(new, 0, 4, full(new)) == 3 * SIZE  # room for no more
    assert read(cache, new[:3])
    assert read(cache, old[:2])
    with pytest.raises(NotCached, match="block 2 of 3"):
        cache.hold(old)
    cache.let_go(held)
    assert cache.capacity_bytes == cache.held_bytes == 5 * SIZE


def test_a_block_without_the_one_before_it_is_not_taken() -> None:
    cache, names = made(4), hashes(1, 4)
    assert cache.keep(names, 2, 2, full(names, 2)) == 0
    assert len(cache) == 0


def test_a_prompt_larger_than_the_cache_leaves_its_beginning() -> None:
    cache, names = made(3), hashes(1, 9)
    assert cache.keep(names, 0, 9, full(names)) == 3 * SIZE
    assert cache.take_news() == (names[:3].tolist(), [])
    assert read(cache, names[:3])


def test_what_came_and_went_is_no_news() -> None:
    cache, names = made(2), hashes(1, 2)
    cache.keep(names, 0, 2, full(names))
    cache.evict(1)
    assert cache.take_news() == (names[:1].tolist(), [])
    cache.evict(1)
    assert cache.take_news() == ([], names[:1].tolist())
    assert cache.take_news() == ([], [])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 6)), max_size=25), st.integers(1, 9))
def test_the_news_add_up_to_what_is_cached(steps: list[tuple[int, int]], room: int) -> None:
    cache = made(room)
    told: set[int] = set()
    for session, blocks in steps:
        names = hashes(session, blocks)
        cache.keep(names, 0, blocks, full(names))
        added, dropped = cache.take_news()
        assert not told & set(added) and set(dropped) <= told
        told = (told | set(added)) - set(dropped)
        assert len(told) == len(cache) <= room
        for other in range(1, 5):
            whole = hashes(other, 6)
            length = sum(int(name) in told for name in whole)
            assert all(int(name) in told for name in whole[:length])  # a prefix stays a prefix
            if length:
                expected = b"".join(content(int(name)) for name in whole[:length])
                assert read(cache, whole[:length]) == expected
