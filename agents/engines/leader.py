"""The leader of a node's engines: fetches work from the scheduler, and reports at every fetch.

DualPath, section 6.1.  Rank 0 of a group does it there; here it is the node's process, which serves
all engines of the group.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from agents.control.messages import Fetch
from agents.scheduler.state import GroupReport


class Leader:
    """Fetches at a fixed period of the running loop's clock.

    Args:
        report: what the group has to say.
        send: takes the message to the scheduler.
        period_s: between two fetches, emulated.
        phase: when in a period this group fetches, 0 … 1, so that groups do not all come at once.
    """

    def __init__(
        self,
        report: Callable[[], GroupReport],
        send: Callable[[Fetch], None],
        *,
        period_s: float,
        phase: float,
    ) -> None:
        self._report, self._send = report, send
        self._period_s, self._phase = period_s, phase

    async def lead(self) -> None:
        """Fetch until cancelled; a fetch that is late does not make the next ones late."""
        loop = asyncio.get_running_loop()
        due_s = loop.time() + self._phase * self._period_s
        while True:
            await asyncio.sleep(due_s - loop.time())
            self._send(Fetch(self._report()))
            due_s = max(due_s + self._period_s, loop.time())
