"""Which parts of a range are free: first fit, neighbours coalesced."""

from __future__ import annotations

from bisect import bisect_left


class FreeList:
    """Hands out parts of 0 … `capacity` - 1; units are the caller's (bytes, blocks).

    Args:
        capacity: size of the range; all of it is free at first.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.free = capacity
        self._starts = [0] if capacity else []
        self._sizes = [capacity] if capacity else []

    def take(self, size: int) -> int | None:
        """The lowest offset at which `size` units in a row are free, now taken; None if nowhere."""
        if size < 1:
            raise ValueError(f"cannot take {size} units")
        for hole, free in enumerate(self._sizes):
            if free < size:
                continue
            start = self._starts[hole]
            self._cut(hole, size)
            return start
        return None

    def take_parts(self, size: int) -> list[tuple[int, int]] | None:
        """As `take`, in as few parts as there is need for; None if less than `size` is free in all.

        Returns:
            (start, size) of each part, in order.
        """
        start = self.take(size)
        if start is not None:
            return [(start, size)]
        if self.free < size:
            return None
        parts = []
        for at, room in sorted(self.holes(), key=_largest_first):
            parts.append((at, min(room, size)))
            size -= parts[-1][1]
            if not size:
                break
        for at, taken in parts:
            self._cut(self._starts.index(at), taken)
        return sorted(parts)

    def _cut(self, hole: int, size: int) -> None:
        """Take the beginning of a hole."""
        if self._sizes[hole] == size:
            del self._starts[hole], self._sizes[hole]
        else:
            self._starts[hole] += size
            self._sizes[hole] -= size
        self.free -= size

    def give(self, start: int, size: int) -> None:
        """Make `start` … `start + size` free again; ValueError if any of it already is."""
        at = bisect_left(self._starts, start)
        end = start + size
        before = self._starts[at - 1] + self._sizes[at - 1] if at else 0
        after = self._starts[at] if at < len(self._starts) else self.capacity
        if size < 1 or start < before or end > after:
            raise ValueError(f"{start}…{end} is not all taken")
        joins_before = at > 0 and before == start
        joins_after = at < len(self._starts) and after == end
        if joins_before:
            self._sizes[at - 1] += size
            if joins_after:
                self._sizes[at - 1] += self._sizes[at]
                del self._starts[at], self._sizes[at]
        elif joins_after:
            self._starts[at] = start
            self._sizes[at] += size
        else:
            self._starts.insert(at, start)
            self._sizes.insert(at, size)
        self.free += size

    def holes(self) -> list[tuple[int, int]]:
        """(start, size) of every free part, in order."""
        return list(zip(self._starts, self._sizes, strict=True))


def _largest_first(hole: tuple[int, int]) -> tuple[int, int]:
    start, size = hole
    return -size, start
