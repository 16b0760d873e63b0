"""How long an engine had nothing to compute only because KV was still being read for it."""

from __future__ import annotations

import asyncio


class Starved:
    """Time that one engine waits for reads, between its iterations.

    It counts while the engine is idle and has requests, all of which are still being read.
    """

    def __init__(self) -> None:
        self._reading = 0
        self._idle = True
        self._since_s: float | None = None
        self._counted_s = 0.0

    def reading(self) -> None:
        """A request of this engine is being read from now on."""
        self._change(self._idle, self._reading + 1)

    def read(self, ready: bool) -> None:
        """A read has ended; the request can be computed, or not."""
        # With something to compute it waits for other ranks, if for anything: not for KV.
        self._change(self._idle and not ready, self._reading - 1)

    def begin(self) -> None:
        """The engine has nothing to compute from now on."""
        self._change(True, self._reading)

    def taken(self) -> float:
        """Seconds since the time before; called when an iteration begins."""
        self._change(False, self._reading)
        counted_s, self._counted_s = self._counted_s, 0.0
        return counted_s

    def _change(self, idle: bool, reading: int) -> None:
        now_s = asyncio.get_running_loop().time()
        if self._since_s is not None:
            self._counted_s += now_s - self._since_s
        self._idle, self._reading = idle, reading
        self._since_s = now_s if idle and reading else None
