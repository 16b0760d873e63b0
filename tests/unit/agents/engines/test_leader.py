"""When a leader fetches, in virtual time."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any

from agents.control.messages import Fetch
from agents.engines.leader import Leader
from agents.scheduler.state import GroupReport


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to whatever is due next."""

    def __init__(self) -> None:
        self.now_s = 0.0
        loop = self

        class Jumping(selectors.SelectSelector):
            def select(self, timeout: float | None = None) -> Any:
                loop.now_s += timeout or 0.0
                return super().select(0)

        super().__init__(Jumping())

    def time(self) -> float:
        """Virtual seconds."""
        return self.now_s


def run(work: Coroutine[Any, Any, None]) -> None:
    loop = VirtualLoop()
    try:
        loop.run_until_complete(work)
    finally:
        loop.close()


def fetches(seconds: float, period_s: float, phase: float, busy: dict[int, float]) -> list[float]:
    """When a leader fetches; after fetch n its loop is busy for `busy[n]` seconds."""
    times: list[float] = []

    async def scene() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)

        def send(fetch: Fetch) -> None:
            assert fetch.report.node == "pe0"
            times.append(round(loop.now_s, 6))
            loop.now_s += busy.get(len(times), 0.0)

        leader = Leader(lambda: GroupReport("pe0", []), send, period_s=period_s, phase=phase)
        task = loop.create_task(leader.lead())
        await asyncio.sleep(seconds)
        task.cancel()

    run(scene())
    return times


def test_it_fetches_once_a_period_from_its_phase_on() -> None:
    assert fetches(0.95, 0.2, 0.25, {}) == [0.05, 0.25, 0.45, 0.65, 0.85]


def test_a_late_fetch_does_not_bring_others_at_once_after_it() -> None:
    assert fetches(1.35, 0.2, 0.0, {2: 0.5}) == [0.0, 0.2, 0.7, 0.9, 1.1, 1.3]
