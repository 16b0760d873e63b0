"""Extents never overlap, everything coalesces back, and nobody is overtaken."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.blocks.arena import Arena, ArenaTooSmall, Extent
from testbed.errors import CapacityError, UsageError

CAPACITY = 64 * 40


@given(st.lists(st.tuples(st.integers(0, 700), st.booleans(), st.integers(0, 99)), max_size=60))
def test_extents_never_overlap_and_coalesce_back(
    steps: list[tuple[int, bool, int]],
) -> None:
    arena = Arena(CAPACITY, "test")
    live: list[Extent] = []
    marks = {}
    for number, (size, give, which) in enumerate(steps):
        if give and live:
            arena.free(live.pop(which % len(live)))
            continue
        extent = arena.try_allocate(size)
        if extent is None:
            continue
        assert extent.offset % 64 == 0
        assert extent.size == len(extent.view) == size
        extent.view[:] = bytes([number]) * size
        marks[extent.offset] = bytes([number]) * size
        live.append(extent)
    for extent in live:
        assert bytes(extent.view) == marks[extent.offset]
        assert arena.memory[extent.offset :][: extent.size] == extent.view
    used = sum(max(1, -(-extent.size // 64)) * 64 for extent in live)
    assert arena.used_bytes == used <= arena.peak_bytes <= CAPACITY
    for extent in live:
        arena.free(extent)
    assert arena.used_bytes == 0
    assert arena.try_allocate(CAPACITY) is not None


def test_more_than_all_of_it_is_refused_at_once() -> None:
    async def main() -> None:
        arena = Arena(1000, "pe0 PE buffer")
        with pytest.raises(ArenaTooSmall, match=r"pe0 PE buffer: 1\.953KiB asked for"):
            await arena.allocate(2000)
        with pytest.raises(CapacityError):
            arena.try_allocate(2000)

    asyncio.run(main())


def test_a_capacity_that_no_machine_has_is_refused() -> None:
    with pytest.raises(CapacityError, match="no memory for"):
        Arena(1 << 56, "test")
    with pytest.raises(UsageError, match="1 or more"):
        Arena(0, "test")


def test_freeing_twice_is_refused() -> None:
    arena = Arena(CAPACITY, "test")
    first = arena.try_allocate(100)
    assert first is not None
    arena.free(first)
    with pytest.raises(UsageError, match="freed twice"):
        arena.free(first)
    second = arena.try_allocate(100)
    assert second is not None
    assert second.offset == first.offset
    with pytest.raises(UsageError, match="freed twice"):
        arena.free(first)  # the same place, but somebody else's now
    other = Arena(CAPACITY, "other").try_allocate(64)
    assert other is not None
    with pytest.raises(UsageError, match="not of this arena"):
        arena.free(other)


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


def start(work: Awaitable[Extent]) -> asyncio.Future[Extent]:
    return asyncio.ensure_future(work)


def test_a_small_request_does_not_overtake_a_large_one() -> None:
    async def main() -> None:
        arena = Arena(CAPACITY, "test")
        held = await arena.allocate(CAPACITY - 64)
        large = start(arena.allocate(CAPACITY))
        await settle()
        small = start(arena.allocate(64))  # would fit
        await settle()
        assert not large.done()
        assert not small.done()
        assert arena.try_allocate(64) is None
        arena.free(held)
        await settle()
        assert large.done()
        assert not small.done()
        arena.free(large.result())
        await settle()
        assert small.done()

    asyncio.run(main())


def test_one_free_admits_all_who_fit() -> None:
    async def main() -> None:
        arena = Arena(CAPACITY, "test")
        held = await arena.allocate(CAPACITY)
        waiting = [start(arena.allocate(64 * 10)) for _ in range(5)]
        await settle()
        arena.free(held)
        await settle()
        assert [task.done() for task in waiting] == [True, True, True, True, False]
        arena.free(waiting[1].result())
        await settle()
        assert waiting[4].result().offset == waiting[1].result().offset

    asyncio.run(main())


def test_one_who_gives_up_is_not_in_the_way() -> None:
    async def main() -> None:
        arena = Arena(CAPACITY, "test")
        await arena.allocate(CAPACITY - 64)
        large = start(arena.allocate(CAPACITY))
        small = start(arena.allocate(64))
        await settle()
        large.cancel()
        await settle()
        assert small.done()

    asyncio.run(main())


def test_one_who_gives_up_when_granted_gives_it_back() -> None:
    async def main() -> None:
        arena = Arena(CAPACITY, "test")
        held = await arena.allocate(CAPACITY)
        first = start(arena.allocate(CAPACITY))
        second = start(arena.allocate(CAPACITY))
        await settle()
        arena.free(held)  # grants the first, whose task has not run yet
        first.cancel()
        await settle()
        assert first.cancelled()
        assert second.done()
        arena.free(second.result())
        assert arena.used_bytes == 0

    asyncio.run(main())
