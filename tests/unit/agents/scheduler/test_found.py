"""What a second scheduler finds, in whatever order it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from agents.control.messages import Assign, Done, Engine
from agents.numbers import try_number
from agents.scheduler.found import Found


def job(number: int, decode: str = "de0") -> Assign:
    return Assign(number, [], 64, 1, b"", Engine("pe0", 0), Engine(decode, 0), 0.0, 0.0)


def scene(work: Callable[[], None]) -> None:
    async def run() -> None:
        work()

    asyncio.run(run())


def test_nothing_is_decided_before_all_nodes_have_spoken_or_are_lost() -> None:
    def work() -> None:
        found = Found(["pe0", "de0", "de1"])
        found.reported("de0", [])
        found.lose("de1")
        assert not found.all_reported.is_set()
        found.reported("pe0", [])
        assert found.all_reported.is_set()
        assert Found([]).all_reported.is_set()  # the first scheduler waits for nobody

    scene(work)


def test_a_try_is_kept_with_its_end_until_its_turn_comes_again() -> None:
    def work() -> None:
        found = Found(["de0"])
        second = try_number(7, 2)
        found.reported("de0", [job(second), job(8)])
        done = Done(second)
        assert found.ended(done)
        assert not found.ended(Done(7))  # another try of that turn
        assert not found.ended(Done(9))
        assert found.take(7) == (job(second), done)
        assert found.take(7) == (None, None)
        assert found.take(8) == (job(8), None)
        assert not found.ended(Done(8))  # from now on it is a try like any other

    scene(work)


def test_what_a_lost_node_still_serves_is_nobodys() -> None:
    """de1 was lost, and woke up: it has a first try, whose second one is at de0."""

    def work() -> None:
        found = Found(["de0", "de1"])
        second = try_number(7, 2)
        found.reported("de1", [job(7, "de1"), job(8, "de1")])
        found.ended(Done(8))
        found.reported("de0", [job(second)])
        found.lose("de1")  # de0 knows
        assert found.take(8) == (None, None)
        assert found.take(7) == (job(second), None)

    scene(work)
