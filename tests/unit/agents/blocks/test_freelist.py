"""The free list against a plain set of units."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agents.blocks.freelist import FreeList

CAPACITY = 24


class AgainstASet(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.list = FreeList(CAPACITY)
        self.free = set(range(CAPACITY))
        self.taken: list[tuple[int, int]] = []

    def room(self, size: int) -> int | None:
        starts = range(CAPACITY - size + 1)
        return next((at for at in starts if self.free >= set(range(at, at + size))), None)

    @rule(size=st.integers(1, CAPACITY))
    def take(self, size: int) -> None:
        start = self.list.take(size)
        assert start == self.room(size)
        if start is not None:
            self.free -= set(range(start, start + size))
            self.taken.append((start, size))

    @rule(size=st.integers(1, CAPACITY))
    def take_parts(self, size: int) -> None:
        whole, holes = self.room(size), self.list.holes()
        parts = self.list.take_parts(size)
        if size > len(self.free):
            assert parts is None
            return
        assert parts is not None
        units = {unit for start, count in parts for unit in range(start, start + count)}
        assert len(units) == sum(count for _, count in parts) == size
        assert units <= self.free
        assert parts == sorted(parts)
        # The fewest: with one hole less, even the largest would not do.
        largest = sorted((room for _, room in holes), reverse=True)
        assert sum(largest[: len(parts) - 1]) < size
        assert (whole is not None) == (len(parts) == 1)
        self.free -= units
        self.taken += parts

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def give(self, data: st.DataObject) -> None:
        start, size = self.taken.pop(data.draw(st.integers(0, len(self.taken) - 1)))
        self.list.give(start, size)
        self.free |= set(range(start, start + size))

    @rule(start=st.integers(-1, CAPACITY), size=st.integers(0, CAPACITY))
    def give_what_is_not_all_taken(self, start: int, size: int) -> None:
        units = set(range(start, start + size))
        if units and units <= set(range(CAPACITY)) - self.free:
            return
        with pytest.raises(ValueError, match="not all taken"):
            self.list.give(start, size)

    @invariant()
    def holes_are_the_free_units_and_never_touch(self) -> None:
        holes = self.list.holes()
        units = [unit for start, size in holes for unit in range(start, start + size)]
        assert units == sorted(self.free)
        assert self.list.free == len(self.free)
        assert all(a + size < b for (a, size), (b, _) in pairwise(holes))


TestFreeList = AgainstASet.TestCase
TestFreeList.settings = settings(max_examples=40)


def test_nothing_cannot_be_taken() -> None:
    with pytest.raises(ValueError, match="0 units"):
        FreeList(4).take(0)


def test_parts_are_those_of_the_largest_holes() -> None:
    """Holes of 1, 3 and 2 units: five need two of them."""
    some = FreeList(10)
    assert some.take(10) == 0
    for start, size in ((0, 1), (2, 3), (6, 2)):
        some.give(start, size)
    assert some.take_parts(5) == [(2, 3), (6, 2)]
    assert some.holes() == [(0, 1)]
