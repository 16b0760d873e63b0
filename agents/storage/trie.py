"""Which Full Blocks are stored: a trie, one node a block, and which goes first when room is short.

A prefix-block hash names a block and all the context before it, so a node is found by its hash at
once; walking from the root would find the same.  What a node knows of the tree is its parent's hash
and how many children it has.  The parent may be missing (another storage node has it, or it was
evicted while a child was on its way): the child is found again when the parent is back.

The least recently used *leaf* goes first, so that what is stored of a prefix stays a prefix.
Use is one clock that counts blocks: of the blocks used together the first counts as used last,
and a prefix is eaten from its end.  Pinned nodes never go: they are being read, or a block that
will hang from them is being written.

Source: DualPath appendix A.5 (the index is a trie, one node a Full Block).  Eviction of leaves by
their use is what SGLang's RadixAttention does (arXiv 2312.07104, section 3).
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import takewhile
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from agents.blocks.hashing import Hashes

Slots: TypeAlias = NDArray[np.int64]


class Evicted(NamedTuple):
    """A block that has left the trie, and the slot that is free now."""

    block: int
    slot: int


class Trie:
    """The index of one storage node.

    Args:
        capacity: slots that blocks can lie in, numbered from 0.
    """

    def __init__(self, capacity: int) -> None:
        self._slots: dict[int, int] = {}  # block -> slot
        self._parents: dict[int, int | None] = {}
        self._children: dict[int, int] = {}  # how many; blocks that have none are not in it
        self._used = np.zeros(capacity, np.int64)  # by slot: the clock at its last use
        self._pins = np.zeros(capacity, np.int32)  # by slot: how many hold it
        self._clock = 0
        # (clock, block) of leaves.  Use makes an entry stale: it is looked at when it comes up.
        self._leaves: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, block: int) -> bool:
        return block in self._slots

    def blocks(self) -> list[int]:
        """All that are stored."""
        return list(self._slots)

    @property
    def pinned(self) -> int:
        """Blocks that are held by somebody."""
        return int(np.count_nonzero(self._pins))

    def slot(self, block: int) -> int | None:
        """Where a block lies; None if it is not stored."""
        return self._slots.get(block)

    def prefix(self, hashes: Hashes) -> Slots:
        """Slots of the longest stored prefix of `hashes`, which are used now."""
        found = takewhile(_is_stored, map(self._slots.get, hashes.tolist()))
        return self._use(np.fromiter(found, np.int64))

    def find(self, hashes: Hashes) -> Slots:
        """Slots of these blocks, in their order, which are used now.

        Raises:
            KeyError: a block is not stored; its argument is the position of the first such.
        """
        slots = list(map(self._slots.get, hashes.tolist()))
        if None in slots:
            raise KeyError(slots.index(None))
        return self._use(np.array(slots, np.int64))

    def insert(self, parent: int | None, blocks: Sequence[int], slots: Sequence[int]) -> list[int]:
        """Hang a run of blocks, each from the one before, from `parent`; they are used now.

        A block that is stored already stays where it lies, and under the parent that it has.

        Args:
            parent: the block before the run; None if the run begins a prefix.
            blocks: their hashes.
            slots: where they lie, one each.

        Returns:
            The slots that are not needed, because their block was stored already.
        """
        spare, new = [], []
        for block, slot in zip(blocks, slots, strict=True):
            if block in self._slots:
                spare.append(slot)
            else:
                self._slots[block] = slot
                self._parents[block] = parent
                if parent is not None:
                    self._children[parent] = self._children.get(parent, 0) + 1
                new.append(block)
            parent = block
        self._use(np.array([self._slots[block] for block in blocks], np.int64))
        for block in new:
            if block not in self._children:
                self._push(block)
        return spare

    def pin(self, slots: Slots) -> None:
        """Keep blocks from being evicted; pins add up."""
        np.add.at(self._pins, slots, 1)

    def unpin(self, slots: Slots) -> None:
        """Take one pin each back."""
        np.subtract.at(self._pins, slots, 1)

    def evict(self, count: int) -> list[Evicted]:
        """Remove up to `count` blocks, the least recently used leaf each time.

        Returns:
            What has gone, in that order; fewer than `count` if every leaf is pinned.
        """
        evicted: list[Evicted] = []
        pinned: list[tuple[int, int]] = []
        while self._leaves and len(evicted) < count:
            used, block = heapq.heappop(self._leaves)
            slot = self._slots.get(block)
            if slot is None or block in self._children:
                continue  # it has gone, or will be back when its children have gone
            if used != self._used.item(slot):
                self._push(block)
            elif self._pins.item(slot):
                pinned.append((used, block))
            else:
                self._remove(block)
                evicted.append(Evicted(block, slot))
        for leaf in pinned:
            heapq.heappush(self._leaves, leaf)
        return evicted

    def _use(self, slots: Slots) -> Slots:
        self._used[slots] = np.arange(self._clock + len(slots), self._clock, -1)
        self._clock += len(slots)
        return slots

    def _push(self, block: int) -> None:
        heapq.heappush(self._leaves, (self._used.item(self._slots[block]), block))

    def _remove(self, block: int) -> None:
        del self._slots[block]
        parent = self._parents.pop(block)
        if parent is None:
            return
        self._children[parent] -= 1
        if not self._children[parent]:
            del self._children[parent]
            if parent in self._slots:
                self._push(parent)


def _is_stored(slot: int | None) -> bool:
    return slot is not None
