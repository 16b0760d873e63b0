"""Busy time and bytes of a node's NICs."""

from __future__ import annotations

import asyncio

from agents.engines.meters import Meters


class Clock:
    """A clock that is set by hand."""

    now_s = 10.0

    def __call__(self) -> float:
        return self.now_s


def test_only_busy_time_counts_and_overlaps_count_once() -> None:
    clock = Clock()
    meters = Meters(clock)

    async def work() -> None:
        async with meters.at_work("read"):
            clock.now_s += 1
            async with meters.at_work("read"):
                clock.now_s += 2
            meters.carried("read", 30)
            assert meters.take() == {"read": (30, 3.0)}
            clock.now_s += 1
        clock.now_s += 100
        meters.carried("read", 5)
        assert meters.take() == {"read": (5, 1.0)}
        assert meters.take() == {}

    asyncio.run(work())


def test_nics_of_their_own_are_busy_each_for_itself() -> None:
    clock = Clock()
    meters = Meters(clock)

    async def work() -> None:
        async with meters.at_work("load", 0), meters.at_work("load", 1):
            clock.now_s += 2
        meters.carried("load", 8)
        assert meters.take() == {"load": (8, 4.0)}

    asyncio.run(work())
