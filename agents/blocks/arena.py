"""Memory of a stated capacity: a DRAM buffer, an engine's HBM.

Whoever needs more than is free waits, in the order of asking: nobody is overtaken, however
small the request, so a large one cannot starve.
"""

from __future__ import annotations

import asyncio
import mmap
from collections import deque
from typing import NamedTuple

from agents.blocks.freelist import FreeList
from testbed.errors import CapacityError, UsageError
from testbed.units import show_size

ALIGNMENT_BYTES = 64  # a cache line


class ArenaTooSmall(CapacityError):
    """More was asked for than the arena has in all: waiting would never end."""


class Extent(NamedTuple):
    """A part of an arena.

    Args:
        offset: from the start of the arena, a multiple of 64.
        size: bytes, as asked for.
        view: exactly these bytes.
    """

    offset: int
    size: int
    view: memoryview


class Arena:
    """Anonymous memory, handed out in extents.  Belongs to one event loop's thread.

    Args:
        capacity_bytes: its size.  The kernel gives pages only where they are used.
        name: for messages, e.g. "de0 DE buffer".

    Raises:
        CapacityError: the machine has no room for it.
    """

    def __init__(self, capacity_bytes: int, name: str) -> None:
        if capacity_bytes < 1:
            raise UsageError(
                f"{name}: a capacity of {capacity_bytes} bytes", hint="it must be 1 or more"
            )
        self.name = name
        self.capacity_bytes = capacity_bytes
        self.used_bytes = 0
        self.peak_bytes = 0
        units = -(-capacity_bytes // ALIGNMENT_BYTES)
        try:
            pages = mmap.mmap(
                -1, units * ALIGNMENT_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            )
        except OSError as error:
            raise CapacityError(
                f"{name}: no memory for {show_size(capacity_bytes)} ({error.strerror})",
                hint="make it smaller, or choose a larger byte scale",
            ) from error
        self.memory = memoryview(pages)
        self._free = FreeList(units)
        self._live: dict[int, Extent] = {}
        self._waiting: deque[tuple[int, asyncio.Future[Extent]]] = deque()

    @property
    def free_bytes(self) -> int:
        """What is not handed out; it may be in pieces."""
        return self.capacity_bytes - self.used_bytes

    def _units(self, size_bytes: int) -> int:
        return max(1, -(-size_bytes // ALIGNMENT_BYTES))

    def must_hold(self, size_bytes: int) -> None:
        """Be large enough for an extent of that size.

        Raises:
            ArenaTooSmall: it is more than the whole arena.
        """
        if size_bytes < 0:
            raise UsageError(f"{self.name}: an extent of {size_bytes} bytes")
        if self._units(size_bytes) > self._free.capacity:
            raise ArenaTooSmall(
                f"{self.name}: {show_size(size_bytes)} asked for, it has"
                f" {show_size(self.capacity_bytes)} in all",
                hint="give the buffer more room, or the request fewer tokens",
            )

    def _carve(self, size_bytes: int) -> Extent | None:
        units = self._units(size_bytes)
        start = self._free.take(units)
        if start is None:
            return None
        offset = start * ALIGNMENT_BYTES
        extent = Extent(offset, size_bytes, self.memory[offset : offset + size_bytes])
        self._live[offset] = extent
        self.used_bytes += units * ALIGNMENT_BYTES
        self.peak_bytes = max(self.peak_bytes, self.used_bytes)
        return extent

    def try_allocate(self, size_bytes: int) -> Extent | None:
        """An extent at once, or None if there is no room or somebody waits already.

        Raises:
            ArenaTooSmall: `size_bytes` is more than the whole arena.
        """
        self.must_hold(size_bytes)
        return None if self._waiting else self._carve(size_bytes)

    async def allocate(self, size_bytes: int) -> Extent:
        """An extent, after all who asked before have theirs.

        Raises:
            ArenaTooSmall: `size_bytes` is more than the whole arena.
        """
        extent = self.try_allocate(size_bytes)
        if extent is not None:
            return extent
        future: asyncio.Future[Extent] = asyncio.get_running_loop().create_future()
        entry = (size_bytes, future)
        self._waiting.append(entry)
        try:
            return await future
        except asyncio.CancelledError:
            if future.cancelled():
                self._waiting.remove(entry)
                self._admit()  # it may have been at the head, in the way of smaller ones
            else:
                self.free(future.result())  # granted, but nobody is there to take it
            raise

    def free(self, extent: Extent) -> None:
        """Give an extent back; UsageError if it is not (or no longer) one of this arena's."""
        if self._live.get(extent.offset) is not extent:
            raise UsageError(
                f"{self.name}: {extent.size} bytes at {extent.offset} are freed twice,"
                " or are not of this arena"
            )
        del self._live[extent.offset]
        units = self._units(extent.size)
        self._free.give(extent.offset // ALIGNMENT_BYTES, units)
        self.used_bytes -= units * ALIGNMENT_BYTES
        self._admit()

    def _admit(self) -> None:
        while self._waiting:
            size_bytes, future = self._waiting[0]
            if not future.cancelled():
                extent = self._carve(size_bytes)
                if extent is None:
                    return
                future.set_result(extent)
                self._waiting.popleft()
            else:
                return  # its own task removes it, and admits the next
