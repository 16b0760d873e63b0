"""The prefix cache of a decode node: Full Blocks that stay in its DRAM after they were of use.

Bounded by bytes, least recently used leaves go first, blocks that are being read stay: the index is
the trie that storage uses (`agents.storage.trie`).  What is cached of a prefix is always its
beginning: a block whose predecessor is not there is not taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from agents.blocks.arena import Arena
from agents.blocks.hashing import Hashes
from agents.blocks.layout import KVLayout
from agents.blocks.maker import Part
from agents.storage.trie import Slots, Trie


class NotCached(Exception):
    """Blocks are not in the cache (any more)."""


class HeldBlocks(NamedTuple):
    """Blocks that stay until they are let go.

    Args:
        slots: theirs.
        views: their bytes, in order; neighbours in one.
    """

    slots: Slots
    views: list[memoryview]


class News(NamedTuple):
    """Blocks that have come and gone since somebody asked; none of them is in both."""

    added: list[int]
    dropped: list[int]


class PrefixCache:
    """Cached blocks of one node.

    Args:
        capacity_bytes: at most so much, in whole blocks; must hold one.
        layout: of the blocks.
        name: for messages.

    Raises:
        CapacityError: the machine has no room for it.
    """

    def __init__(self, capacity_bytes: int, layout: KVLayout, name: str) -> None:
        self._size = layout.full_block_bytes
        self._slots = capacity_bytes // self._size
        self.arena = Arena(self._slots * self._size, name)
        shape = (self._slots, layout.layers, layout.layer_block_bytes)
        used = self._slots * self._size
        self._rows = np.frombuffer(self.arena.memory, np.uint8, used).reshape(shape)
        self._trie = Trie(self._slots)
        self._never_used = 0
        self._free: list[int] = []
        self._news: dict[int, bool] = {}
        self.kept_bytes = 0
        self.evicted_bytes = 0

    def __len__(self) -> int:
        return len(self._trie)

    @property
    def held_bytes(self) -> int:
        """Of the blocks that are cached now."""
        return len(self._trie) * self._size

    @property
    def capacity_bytes(self) -> int:
        """Of all slots."""
        return self._slots * self._size

    def keep(self, hashes: Hashes, first: int, count: int, parts: Sequence[Part]) -> int:
        """Copy blocks of a prefix into the cache, as many as there is room for, from the first on.

        Args:
            hashes: of the prefix.
            first, count: which of its blocks.
            parts: their bytes; of blocks that are cached already, nothing is copied.

        Returns:
            Bytes that were copied.
        """
        held = self._trie.prefix(hashes[: first + count])
        if len(held) < first:
            return 0  # the prefix before them has gone
        new = range(max(first, len(held)), first + count)
        self._trie.pin(held)  # what is being lengthened must not be evicted for it
        try:
            slots = self._take(len(new))
        finally:
            self._trie.unpin(held)
        new = new[: len(slots)]
        self._copy(new, np.array(slots, np.int64), parts)
        blocks = hashes[new.start : new.stop].tolist()
        parent = int(hashes[new.start - 1]) if new.start else None
        spare = set(self._trie.insert(parent, blocks, slots))
        self._free += spare
        for block, slot in zip(blocks, slots, strict=True):
            if slot not in spare:
                self._tell(block, added=True)
        copied = len(new) * self._size
        self.kept_bytes += copied
        return copied

    def hold(self, hashes: Hashes) -> HeldBlocks:
        """Keep these blocks from being evicted, and give their bytes.

        Raises:
            NotCached: one of them is not cached.
        """
        try:
            slots = self._trie.find(hashes)
        except KeyError as error:
            raise NotCached(f"block {error.args[0]} of {len(hashes)}") from None
        self._trie.pin(slots)
        return HeldBlocks(slots, list(self._views(slots)))

    def let_go(self, held: HeldBlocks) -> None:
        """The blocks may be evicted again."""
        self._trie.unpin(held.slots)

    def blocks(self) -> list[int]:
        """All that are cached."""
        return self._trie.blocks()

    def take_news(self) -> News:
        """What has come and gone since the last time."""
        news, self._news = self._news, {}
        return News(
            [block for block, added in news.items() if added],
            [block for block, added in news.items() if not added],
        )

    def evict(self, count: int) -> int:
        """Evict up to `count` blocks; how many have gone."""
        evicted = self._trie.evict(count)
        for block, slot in evicted:
            self._free.append(slot)
            self._tell(block, added=False)
        self.evicted_bytes += len(evicted) * self._size
        return len(evicted)

    def _take(self, count: int) -> list[int]:
        """Slots for up to `count` blocks."""
        free = len(self._free) + self._slots - self._never_used
        if count > free:
            self.evict(count - free)
        taken = [self._free.pop() for _ in range(min(count, len(self._free)))]
        fresh = min(count - len(taken), self._slots - self._never_used)
        taken += range(self._never_used, self._never_used + fresh)
        self._never_used += fresh
        return sorted(taken)

    def _copy(self, blocks: range, slots: Slots, parts: Sequence[Part]) -> None:
        for part in parts:
            first = max(blocks.start, part.block_first)
            last = min(blocks.stop, part.block_first + part.blocks)
            if first >= last:
                continue
            size = part.layer_count * self._rows.shape[2]
            begin = (first - part.block_first) * size
            source = part.memory[begin : begin + (last - first) * size]
            rows = np.frombuffer(source, np.uint8).reshape(last - first, part.layer_count, -1)
            into = slots[first - blocks.start : last - blocks.start]
            self._rows[into, part.layer_first : part.layer_first + part.layer_count] = rows

    def _views(self, slots: Slots) -> Iterator[memoryview]:
        edges = np.flatnonzero(np.diff(slots) != 1) + 1
        for run in np.split(slots, edges):
            if len(run):
                first, last = int(run[0]) * self._size, (int(run[-1]) + 1) * self._size
                yield self.arena.memory[first:last]

    def _tell(self, block: int, *, added: bool) -> None:
        if self._news.get(block, added) != added:
            del self._news[block]  # it came and went, or the other way: nothing new
        else:
            self._news[block] = added
