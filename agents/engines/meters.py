"""What a node's NICs carry while they have something to carry.

Idle time says nothing of a NIC, so only *busy* time counts: that in which at least one transfer of
a kind was under way.  Transfers that do not share a NIC are busy each for itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class _Busy:
    """How long at least one transfer was under way."""

    def __init__(self) -> None:
        self.transfers = 0
        self.since_s = 0.0
        self.busy_s = 0.0

    def settle(self, now_s: float) -> None:
        """Count the time until now."""
        if self.transfers:
            self.busy_s += now_s - self.since_s
        self.since_s = now_s


class Meters:
    """Bytes and busy time of a node, by way (see `agents.scheduler.views.Rates`).

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._busy: dict[tuple[str, int], _Busy] = {}
        self._bytes: dict[str, int] = {}

    @asynccontextmanager
    async def at_work(self, way: str, nic: int = 0) -> AsyncIterator[None]:
        """A transfer is under way inside this.

        Args:
            way: of KV.
            nic: which of the node's that carry it.
        """
        busy = self._busy.setdefault((way, nic), _Busy())
        busy.settle(self._clock())
        busy.transfers += 1
        try:
            yield
        finally:
            busy.settle(self._clock())
            busy.transfers -= 1

    def carried(self, way: str, size_bytes: int) -> None:
        """So much has arrived."""
        self._bytes[way] = self._bytes.get(way, 0) + size_bytes

    def take(self) -> dict[str, tuple[int, float]]:
        """Way -> bytes and busy seconds since this was last asked, where anything has arrived."""
        now_s = self._clock()
        taken: dict[str, tuple[int, float]] = {}
        for way in [way for way, size in self._bytes.items() if size]:
            busy_s = 0.0
            for (own, _), busy in self._busy.items():
                if own == way:
                    busy.settle(now_s)
                    busy_s += busy.busy_s
                    busy.busy_s = 0.0
            taken[way] = (self._bytes.pop(way), busy_s)
        return taken
