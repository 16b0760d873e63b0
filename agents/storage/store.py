"""Full Blocks on disk, keyed by prefix-block hash; synchronous, no I/O loop.

All blocks are in one sparse file, mapped into memory: what arrives over the network lands in the
mapping, what leaves goes out of the file by sendfile(2).  Blocks that come together lie together if
there is such room, so a prefix is a few long ranges.  Each block has its xxh3-64, made when it was
stored.

When there is no room, the least recently used leaves of the index are evicted, as many as are
needed and no more; whether their slots are neighbours does not matter, for a reservation may be in
parts.  A block never changes while it is in the index, and is not evicted while it is held: whoever
holds a range of the file can send it at leisure.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agents.blocks.digests import digest_blocks
from agents.blocks.freelist import FreeList
from agents.blocks.generate import fill_full
from agents.blocks.hashing import Hashes
from agents.blocks.layout import KVLayout
from agents.storage.blockfile import BlockFile
from agents.storage.errors import CorruptBlock, MissingBlock, StoreError, StoreFull
from agents.storage.trie import Slots, Trie
from agents.wire.transport import FileRange
from testbed.units import show_size

FILE_NAME = "blocks.kv"
_LAY_DOWN_BYTES = 4 << 20  # made and digested while it is in cache


class Part(NamedTuple):
    """Neighbouring blocks of a reservation.

    Args:
        offset: from the start of `Store.memory`, in bytes.
        blocks: how many.
        view: the memory, one Full Block after the other.
    """

    offset: int
    blocks: int
    view: memoryview


class Reservation(NamedTuple):
    """Room for blocks that are on their way.

    Args:
        parts: where they go, the first blocks in the first.
        parent: hash of the block that they come after, None at the start of a prefix.
        held: its slot, if it is stored: it is not evicted meanwhile.
    """

    parts: tuple[Part, ...]
    parent: int | None
    held: Slots

    @property
    def blocks(self) -> int:
        """How many."""
        return sum(part.blocks for part in self.parts)


class StoredBlocks(NamedTuple):
    """Where blocks are, in the order in which they were asked for.

    Args:
        ranges: file ranges, neighbours joined.
        digests: shape (blocks,), xxh3-64 of each.
        slots: shape (blocks,), where each lies.
    """

    ranges: list[FileRange]
    digests: NDArray[np.uint64]
    slots: Slots


class Store:
    """The blocks of one storage node.

    Args:
        directory: made if need be; holds one file, which is removed by `close`.
        layout: of the blocks.
        capacity_bytes: of the file; disk (or tmpfs) space is taken as blocks come.
        evict: make room for new blocks by evicting old ones; without it a full store is full.

    Raises:
        ConflictError: another store uses the directory.
        StoreError: the file cannot be made, or is too small for one block.
    """

    def __init__(
        self, directory: Path, layout: KVLayout, capacity_bytes: int, *, evict: bool = True
    ) -> None:
        self._block_bytes = layout.full_block_bytes
        self._layout = layout
        slots = capacity_bytes // self._block_bytes
        if slots < 1:
            raise StoreError(
                f"storage of {show_size(capacity_bytes)} cannot hold one block of"
                f" {show_size(self._block_bytes)}",
                hint="give storage more room, or choose a larger byte scale",
            )
        self._file = BlockFile(directory / FILE_NAME, slots * self._block_bytes)
        self._free = FreeList(slots)
        self._trie = Trie(slots)
        self._evict = evict
        self._digests = np.zeros(slots, np.uint64)  # by slot
        self._reserved: dict[int, Reservation] = {}  # by the offset of the first part
        self._filled = False
        self._taken: list[tuple[int, int]] = []  # by `fill`
        self.evicted_blocks = 0

    # --- reading -------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._trie)

    @property
    def memory(self) -> memoryview:
        """All slots, one after the other."""
        return self._file.memory

    @property
    def capacity_bytes(self) -> int:
        """Of whole blocks."""
        return self._file.size_bytes

    @property
    def free_bytes(self) -> int:
        """Room for blocks that are not stored yet, without evicting any."""
        return self._free.free * self._block_bytes

    def lookup(self, hashes: Hashes) -> int:
        """How many blocks of this prefix are stored, from its first on; these are used now."""
        return len(self._trie.prefix(hashes))

    def ranges(self, hashes: Hashes) -> StoredBlocks:
        """Where blocks are in the file, and their digests; these are used now.

        They may be evicted, and others lie there, after the next `reserve`: `hold` them.  Whoever
        receives the bytes compares them with the digests.

        Args:
            hashes: shape (blocks,).

        Raises:
            MissingBlock: one is not stored.
            CorruptBlock: the file is shorter than it was.
        """
        try:
            slots = self._trie.find(hashes)
        except KeyError as error:
            position = int(error.args[0])
            raise MissingBlock(int(hashes[position]), position) from None
        digests = self._digests[slots]
        self._file.must_be_whole()
        if not len(slots):
            return StoredBlocks([], digests, slots)
        breaks = np.flatnonzero(np.diff(slots) != 1) + 1
        firsts = np.concatenate(([0], breaks))
        counts = np.diff(np.concatenate((firsts, [len(slots)])))
        size = self._block_bytes
        ranges = [
            FileRange(self._file.fd, slot * size, count * size)
            for slot, count in zip(slots[firsts].tolist(), counts.tolist(), strict=True)
        ]
        return StoredBlocks(ranges, digests, slots)

    def hold(self, stored: StoredBlocks) -> None:
        """Keep blocks where they are, until as many times `let_go`."""
        self._trie.pin(stored.slots)

    def let_go(self, stored: StoredBlocks) -> None:
        """Nobody reads these bytes any more on behalf of one `hold`."""
        self._trie.unpin(stored.slots)

    # --- writing -------------------------------------------------------------------------

    def reserve(self, blocks: int, parent: int | None = None) -> Reservation:
        """Room for blocks that will land in `memory`; then `commit` or `release` it.

        Args:
            blocks: how many.
            parent: hash of the block that they come after, None at the start of a prefix.

        Raises:
            StoreFull: no room and nothing left to evict, or the disk is full.  What was evicted
                before that was found stays evicted.
        """
        if blocks < 1:
            raise StoreError(f"cannot reserve {blocks} blocks")
        self._file.must_be_whole()
        held = self._parent(parent)
        self._trie.pin(held)
        try:
            parts = self._take(blocks)
        except BaseException:
            self._trie.unpin(held)
            raise
        size = self._block_bytes
        reservation = Reservation(
            tuple(
                Part(slot * size, count, self.memory[slot * size : (slot + count) * size])
                for slot, count in parts
            ),
            parent,
            held,
        )
        self._reserved[reservation.parts[0].offset] = reservation
        return reservation

    def _parent(self, block: int | None) -> Slots:
        slot = None if block is None else self._trie.slot(block)
        return np.array([] if slot is None else [slot], np.int64)

    def _take(self, blocks: int) -> list[tuple[int, int]]:
        """(slot, count) of room on disk for blocks; others are evicted for them if need be."""
        short = blocks - self._free.free
        capacity = self._free.capacity
        # Do not empty the store for what does not fit all the same.
        may_evict = self._evict and not self._filled
        if short > 0 and may_evict and short <= len(self._trie) - self._trie.pinned:
            self.evicted_blocks += self._drop(short)
        parts = self._free.take_parts(blocks)
        if parts is None:
            held = capacity - self._free.free - len(self._trie) + self._trie.pinned
            raise StoreFull(
                f"storage has no room for {blocks} blocks of {show_size(self._block_bytes)}:"
                f" {self._free.free} of {capacity} are free"
                + (f", {held} are being read or written" if self._evict else ""),
                hint="raise storage.capacity, or choose a larger scale.bytes",
            )
        try:
            for slot, count in parts:
                self._file.claim(slot * self._block_bytes, count * self._block_bytes)
        except BaseException:
            self._give(parts)
            raise
        return parts

    def _drop(self, blocks: int) -> int:
        """Have up to so many blocks go, least recently used leaves first; how many have."""
        gone = self._trie.evict(blocks)
        for _, slot in gone:
            self._free.give(slot, 1)
        return len(gone)

    def _give(self, parts: Sequence[tuple[int, int]]) -> None:
        for slot, count in parts:
            self._free.give(slot, count)

    def _take_back(self, reservation: Reservation) -> list[tuple[int, int]]:
        """(slot, count) of the parts of a reservation, which ends here."""
        offset = reservation.parts[0].offset
        if self._reserved.get(offset) is not reservation:
            raise StoreError(
                f"the room for {reservation.blocks} blocks at {offset} is not reserved"
            )
        del self._reserved[offset]
        self._trie.unpin(reservation.held)
        return [(part.offset // self._block_bytes, part.blocks) for part in reservation.parts]

    def release(self, reservation: Reservation) -> None:
        """Give room back that will not be used; nothing may land there any more."""
        self._give(self._take_back(reservation))

    def commit(self, reservation: Reservation, hashes: Hashes) -> int:
        """Take the blocks that have landed into the index; returns how many are new.

        A block that is stored already keeps its place, and the room of the second copy is free
        again.

        Args:
            reservation: all of its memory holds blocks now.
            hashes: shape (`reservation.blocks`,), in the order of the blocks: each but the first
                comes right after the one before it.

        Raises:
            CorruptBlock: a block is stored already, with other bytes; none is then taken.
            StoreError: the numbers of blocks and hashes differ.
        """
        if len(hashes) != reservation.blocks:
            raise StoreError(f"{len(hashes)} hashes for {reservation.blocks} blocks")
        self._file.must_be_whole()
        parts = self._take_back(reservation)
        size = self._block_bytes
        digests = np.concatenate([digest_blocks(part.view, size) for part in reservation.parts])
        blocks = hashes.tolist()
        slots = [slot for first, count in parts for slot in range(first, first + count)]
        seen: dict[int, int] = {}
        for block, digest in zip(blocks, digests.tolist(), strict=True):
            known = self._trie.slot(block)
            before = seen.setdefault(block, digest) if known is None else int(self._digests[known])
            if before != digest:
                self._give(parts)
                raise CorruptBlock(
                    f"block {block:#018x} is stored already, with other bytes",
                    hint="two writers disagree about its KV",
                )
        spare = self._trie.insert(reservation.parent, blocks, slots)
        self._digests[slots] = digests
        for slot in spare:
            self._free.give(slot, 1)
        return len(blocks) - len(spare)

    def lay_down(self, hashes: Hashes, parent: int | None = None) -> int:
        """Make blocks that are not stored yet, as real bytes, and store them.

        This is how a warm start's prefixes come to be in storage: nothing crosses a link.

        Args:
            hashes: neighbouring blocks of one prefix, in order.
            parent: hash of the block before them, None at the start of a prefix.

        Returns:
            How many were made.

        Raises:
            StoreFull: there is no room; blocks laid down before it ran out stay.
        """
        self._trie.prefix(hashes)  # what is there already is not evicted for the rest
        blocks = hashes.tolist()
        step = max(1, _LAY_DOWN_BYTES // self._block_bytes)
        made = at = 0
        while at < len(blocks):
            wanted = list(takewhile(lambda block: block not in self._trie, blocks[at : at + step]))
            if wanted:
                reservation = self.reserve(len(wanted), blocks[at - 1] if at else parent)
                made += self._make(reservation, np.array(wanted, np.uint64))
            at += len(wanted) or 1
        return made

    def _make(self, reservation: Reservation, hashes: Hashes) -> int:
        at = 0
        for part in reservation.parts:
            fill_full(self._layout, hashes[at : at + part.blocks], part.view)
            at += part.blocks
        return self.commit(reservation, hashes)

    # --- faults --------------------------------------------------------------------------

    def forget(self, share: float) -> int:
        """Lose blocks, the least recently used first; those that are being read stay.

        Args:
            share: of all that are stored.

        Returns:
            How many have gone.
        """
        return self._drop(round(share * len(self._trie)))

    def fill(self) -> int:
        """Take all room that is free, and evict nothing for anybody, until `clear`; the blocks."""
        free = self._free.free
        self._filled = True
        self._taken += (self._free.take_parts(free) or []) if free else []
        return free

    def clear(self) -> None:
        """Give back what `fill` has taken."""
        self._give(self._taken)
        self._taken, self._filled = [], False

    # --- end -----------------------------------------------------------------------------

    def close(self) -> None:
        """Forget every block and remove the file; see `BlockFile.close`."""
        self._reserved.clear()
        self._file.close()
