"""Timers that are kept to less than the millisecond of epoll_wait(2)."""

from __future__ import annotations

import asyncio
import os
import select
import selectors
import time
from collections.abc import Iterator

import pytest

from agents.timers import CountingLoop, PunctualSelector


@pytest.fixture
def selector() -> Iterator[PunctualSelector]:
    with PunctualSelector() as made:
        yield made


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_it_waits_for_exactly_what_was_asked(
    selector: PunctualSelector, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float | None] = []
    real = select.select

    def watched(*arguments: object) -> object:
        asked.append(arguments[3])  # type: ignore[arg-type]
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(select, "select", watched)
    began_s = time.monotonic()
    assert selector.select(0.0123456) == []
    assert time.monotonic() - began_s >= 0.0123456
    assert asked == [0.0123456]


@pytest.mark.parametrize("timeout", [None, 0, -1.0, 60.0])
def test_what_is_ready_is_returned_at_once(
    selector: PunctualSelector, pipe: tuple[int, int], timeout: float | None
) -> None:
    receiver, sender = pipe
    selector.register(receiver, selectors.EVENT_READ)
    os.write(sender, b"x")
    (key, _events), *others = selector.select(timeout)
    assert key.fd == receiver and not others


def test_nothing_is_ready_and_nothing_was_to_be_waited_for(selector: PunctualSelector) -> None:
    assert selector.select(0) == [] == selector.select(-1.0)


def test_a_loop_counts_its_timers() -> None:
    async def three() -> int:
        for _ in range(3):
            await asyncio.sleep(1e-4)
        await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, CountingLoop)
        return loop.timers

    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        assert runner.run(three()) == 3
