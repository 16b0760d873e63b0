"""An event loop whose timers are punctual, and counted: what they cost is part of a prediction."""

from __future__ import annotations

import asyncio
import select
import selectors
from collections.abc import Callable
from contextvars import Context
from typing import TypeVarTuple, Unpack

_Ts = TypeVarTuple("_Ts")
_Ready = list[tuple[selectors.SelectorKey, int]]


class PunctualSelector(selectors.EpollSelector):
    """Waits as long as it was asked to, and not until the next whole millisecond.

    epoll_wait(2) counts in milliseconds, so that timers of a loop that waits by it are late by half
    of one in the mean, which is much of a layer's emulated time.  select(2) counts in microseconds,
    and an epoll set is itself a descriptor that can be waited for: what is ready then costs one
    more system call.
    """

    def select(self, timeout: float | None = None) -> _Ready:
        """See selectors."""
        if timeout is not None and timeout > 0:
            select.select((self.fileno(),), (), (), timeout)
            timeout = 0
        return super().select(timeout)


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts timers; a sleep of no time needs none."""

    def __init__(self) -> None:
        super().__init__(PunctualSelector())
        self.timers = 0

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """See asyncio; `call_later` comes here too."""
        self.timers += 1
        return super().call_at(when, callback, *args, context=context)
