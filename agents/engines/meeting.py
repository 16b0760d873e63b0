"""Where the ranks of an iteration wait for each other."""

from __future__ import annotations

import asyncio
import math


class Meeting:
    """A barrier of the ranks of one iteration, which a rank may leave.

    Args:
        ranks: that take part.
    """

    def __init__(self, ranks: int) -> None:
        self._ranks = ranks
        self._here = 0
        self._latest_s = -math.inf
        self._round: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def arrive(self, at_s: float) -> float:
        """Wait for all others; the latest of all their `at_s`."""
        self._here += 1
        self._latest_s = max(self._latest_s, at_s)
        met = self._round
        self._meet()
        return await met

    def leave(self, at_s: float) -> None:
        """A rank is not coming any more; those who wait have waited for it until now."""
        self._ranks -= 1
        if self._here:
            self._latest_s = max(self._latest_s, at_s)
        self._meet()

    def _meet(self) -> None:
        if 0 < self._here == self._ranks:
            met, latest_s = self._round, self._latest_s
            self._here, self._latest_s = 0, -math.inf
            self._round = asyncio.get_running_loop().create_future()
            met.set_result(latest_s)
