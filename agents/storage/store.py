"""Full Blocks on disk, keyed by prefix-block hash; synchronous, no I/O loop.

All blocks are in one sparse file, mapped into memory: what arrives over the network lands in the
mapping, what leaves goes out of the file by sendfile(2).  Blocks that come together lie together,
so a prefix is a few long extents.  Each block has its xxh3-64, made when it was stored.

A block never changes once it is in the index, and is never evicted: whoever holds a range of the
file can send it at leisure.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agents.blocks.digests import digest_blocks
from agents.blocks.freelist import FreeList
from agents.blocks.generate import fill_full
from agents.blocks.hashing import Hashes
from agents.blocks.layout import KVLayout
from agents.wire.transport import FileRange
from testbed.errors import ConflictError, TestbedError
from testbed.units import show_size

FILE_NAME = "blocks.kv"
_LAY_DOWN_BYTES = 4 << 20  # made and digested while it is in cache


class StoreError(TestbedError):
    """Storage cannot do what it was asked."""

    kind = "storage"


class StoreFull(StoreError):
    """There is no room for that many blocks in a row."""


class MissingBlock(StoreError):
    """A block that was asked for is not stored."""


class CorruptBlock(StoreError):
    """A block is not what it was when it was stored."""


class Reservation(NamedTuple):
    """Room for blocks that are on their way.

    Args:
        offset: from the start of `Store.memory`, in bytes.
        blocks: how many.
        view: the memory, one Full Block after the other.
    """

    offset: int
    blocks: int
    view: memoryview


class StoredBlocks(NamedTuple):
    """Where blocks are, in the order in which they were asked for.

    Args:
        ranges: file ranges, neighbours joined.
        digests: shape (blocks,), xxh3-64 of each.
    """

    ranges: list[FileRange]
    digests: NDArray[np.uint64]


class Store:
    """The blocks of one storage node.

    Args:
        directory: made if need be; holds one file, which is removed by `close`.
        layout: of the blocks.
        capacity_bytes: of the file; disk (or tmpfs) space is taken as blocks come.

    Raises:
        ConflictError: another store uses the directory.
        StoreError: the file cannot be made, or is too small for one block.
    """

    def __init__(self, directory: Path, layout: KVLayout, capacity_bytes: int) -> None:
        self._block_bytes = layout.full_block_bytes
        self._layout = layout
        slots = capacity_bytes // self._block_bytes
        if slots < 1:
            raise StoreError(
                f"storage of {show_size(capacity_bytes)} cannot hold one block of"
                f" {show_size(self._block_bytes)}",
                hint="give storage more room, or choose a larger byte scale",
            )
        self._path = directory / FILE_NAME
        self._size = slots * self._block_bytes
        self._fd = _create(self._path, self._size)
        self.memory = memoryview(mmap.mmap(self._fd, self._size))
        self._free = FreeList(slots)
        self._slots: dict[int, int] = {}  # hash -> slot
        self._digests = np.zeros(slots, np.uint64)  # by slot
        self._reserved: dict[int, Reservation] = {}  # by offset

    # --- reading -------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def free_bytes(self) -> int:
        """Room for blocks that are not stored yet."""
        return self._free.free * self._block_bytes

    def lookup(self, hashes: Hashes) -> int:
        """How many blocks of this prefix are stored, from its first on."""
        slots = self._slots
        for position, block in enumerate(hashes.tolist()):
            if block not in slots:
                return position
        return len(hashes)

    def ranges(self, hashes: Hashes, *, verify: bool = False) -> StoredBlocks:
        """Where blocks are in the file, and their digests.

        Args:
            hashes: shape (blocks,).
            verify: read every block and compare its digest before answering; without it the
                receiver has to.

        Raises:
            MissingBlock: one is not stored.
            CorruptBlock: the file is shorter than it was; with `verify`, a block has changed.
        """
        try:
            found = map(self._slots.__getitem__, hashes.tolist())
            slots = np.fromiter(found, np.int64, len(hashes))
        except KeyError as error:
            raise MissingBlock(f"block {error.args[0]:#018x} is not stored") from None
        digests = self._digests[slots]
        self._must_be_whole()
        if verify:
            self._verify(hashes, slots, digests)
        if not len(slots):
            return StoredBlocks([], digests)
        breaks = np.flatnonzero(np.diff(slots) != 1) + 1
        firsts = np.concatenate(([0], breaks))
        counts = np.diff(np.concatenate((firsts, [len(slots)])))
        size = self._block_bytes
        ranges = [
            FileRange(self._fd, slot * size, count * size)
            for slot, count in zip(slots[firsts].tolist(), counts.tolist(), strict=True)
        ]
        return StoredBlocks(ranges, digests)

    def _verify(
        self, hashes: Hashes, slots: NDArray[np.int64], digests: NDArray[np.uint64]
    ) -> None:
        # Read, not looked at through the mapping: a page that is gone would be a SIGBUS.
        block = bytearray(self._block_bytes)
        for position, slot in enumerate(slots.tolist()):
            got = os.preadv(self._fd, [block], slot * self._block_bytes)
            found = digest_blocks(memoryview(block), self._block_bytes)[0]
            if got < self._block_bytes or found != digests[position]:
                raise CorruptBlock(
                    f"block {int(hashes[position]):#018x} does not match its digest",
                    hint=f"something has changed {self._path}",
                )

    def _must_be_whole(self) -> None:
        size = os.fstat(self._fd).st_size
        if size < self._size:
            raise CorruptBlock(
                f"{self._path} has {size} bytes instead of {self._size}",
                hint="something has cut it short",
            )

    # --- writing -------------------------------------------------------------------------

    def reserve(self, blocks: int) -> Reservation:
        """Room for blocks that will land in `memory`; then `commit` or `release` it.

        Raises:
            StoreFull: no such room in a row, or the disk is full.
        """
        if blocks < 1:
            raise StoreError(f"cannot reserve {blocks} blocks")
        self._must_be_whole()
        slot = self._free.take(blocks)
        if slot is None:
            raise StoreFull(
                f"storage has no room for {blocks} blocks in a row:"
                f" {show_size(self.free_bytes)} of {show_size(self._size)} are free",
                hint="give storage more room, or choose a larger byte scale",
            )
        offset, size = slot * self._block_bytes, blocks * self._block_bytes
        try:
            # Space that turns out to be missing only when a mapped page is touched is a SIGBUS.
            os.posix_fallocate(self._fd, offset, size)
        except OSError as error:
            self._free.give(slot, blocks)
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise StoreFull(
                f"no space for {show_size(size)} in {self._path.parent}: {error.strerror}",
                hint="free some, or keep storage in another directory",
            ) from error
        reservation = Reservation(offset, blocks, self.memory[offset : offset + size])
        self._reserved[offset] = reservation
        return reservation

    def _take_back(self, reservation: Reservation) -> int:
        if self._reserved.get(reservation.offset) is not reservation:
            raise StoreError(
                f"the room for {reservation.blocks} blocks at {reservation.offset} is not reserved"
            )
        del self._reserved[reservation.offset]
        return reservation.offset // self._block_bytes

    def release(self, reservation: Reservation) -> None:
        """Give room back that will not be used; nothing may land there any more."""
        self._free.give(self._take_back(reservation), reservation.blocks)

    def commit(self, reservation: Reservation, hashes: Hashes) -> int:
        """Take the blocks that have landed into the index; returns how many are new.

        A block that is stored already keeps its place, and the room of the second copy is free
        again.

        Args:
            reservation: all of its memory holds blocks now.
            hashes: shape (`reservation.blocks`,), in the order of the blocks.

        Raises:
            CorruptBlock: a block is stored already, with other bytes; none is then taken.
            StoreError: the numbers of blocks and hashes differ.
        """
        if len(hashes) != reservation.blocks:
            raise StoreError(f"{len(hashes)} hashes for {reservation.blocks} blocks")
        self._must_be_whole()
        first = self._take_back(reservation)
        digests = digest_blocks(reservation.view, self._block_bytes)
        new: dict[int, int] = {}
        spare = []
        for position, (block, digest) in enumerate(
            zip(hashes.tolist(), digests.tolist(), strict=True)
        ):
            known = self._slots.get(block, new.get(block))
            if known is None:
                new[block] = first + position
                self._digests[first + position] = digest
                continue
            if int(self._digests[known]) != digest:
                self._free.give(first, reservation.blocks)
                raise CorruptBlock(
                    f"block {block:#018x} is stored already, with other bytes",
                    hint="two writers disagree about its KV",
                )
            spare.append(first + position)
        self._slots.update(new)
        for slot in spare:
            self._free.give(slot, 1)
        return len(new)

    def lay_down(self, hashes: Hashes) -> int:
        """Make blocks that are not stored yet, as real bytes, and store them.

        This is how a warm start's prefixes come to be in storage: nothing crosses a link.

        Returns:
            How many were made.

        Raises:
            StoreFull: there is no room; blocks laid down before it ran out stay.
        """
        wanted = [block for block in dict.fromkeys(hashes.tolist()) if block not in self._slots]
        step = max(1, _LAY_DOWN_BYTES // self._block_bytes)
        for first in range(0, len(wanted), step):
            part = np.array(wanted[first : first + step], np.uint64)
            reservation = self.reserve(len(part))
            fill_full(self._layout, part, reservation.view)
            self.commit(reservation, part)
        return len(wanted)

    # --- end -----------------------------------------------------------------------------

    def close(self) -> None:
        """Forget every block and remove the file.

        The mapping goes when the last view of `memory` does: a transport may still hold one.
        """
        if self._fd < 0:
            return
        self._slots.clear()
        self._reserved.clear()
        self._path.unlink(missing_ok=True)
        os.close(self._fd)
        self._fd = -1
        self.memory = memoryview(b"")


def _create(path: Path, size: int) -> int:
    """A sparse file of that size, all zeros, locked for this process; its descriptor."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(
            f"cannot make {path}: {error.strerror}", hint="choose another storage directory"
        ) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(fd, 0)  # only now is it certain that nobody uses it
        os.ftruncate(fd, size)
    except OSError as error:
        os.close(fd)
        if isinstance(error, BlockingIOError):
            raise ConflictError(
                f"{path} is in use by another storage node",
                hint="give each its own directory, or end the other testbed",
            ) from error
        raise StoreError(
            f"cannot make {path} {show_size(size)} large: {error.strerror}",
            hint="give storage less room, or choose another directory",
        ) from error
    return fd
