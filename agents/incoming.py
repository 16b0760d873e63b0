"""What a process expects to land in its memory, and who waits for it.

A transfer that is expected stays expected until its last write has landed, or until its sender has
said that it will never come (`fail`, `end`), or is lost (`lose`).  So whoever has waited for all
that it expected may give the memory back: nothing will write into it any more.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import NamedTuple

from agents.loss import NodeGone
from agents.wire.immediates import Kind
from agents.wire.transport import Received
from testbed.errors import ProgramError

# Kinds whose transfers are counted by request: their sender may give up in the middle.
_COUNTED = frozenset({Kind.KV_RETURN, Kind.CHUNK_RETURN, Kind.LAYER_FETCH, Kind.CHUNK_FETCH})
Name = tuple[int, Kind, int]


class WrongBytes(Exception):
    """Bytes that arrived are not those that were sent, or not those that were meant."""


class _One(NamedTuple):
    """Somebody who waits for one transfer, and the node that it comes from."""

    future: asyncio.Future[Received]
    source: str


class _Several(NamedTuple):
    """Somebody who waits for so many transfers of a kind."""

    transfers: int
    future: asyncio.Future[None]
    source: str


class Incoming:
    """The transfers of one process that somebody waits for, by request, kind and index."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lost: set[str] = set()
        self._ones: dict[Name, _One] = {}
        self._landed: Counter[tuple[int, Kind]] = Counter()
        self._ends: dict[tuple[int, Kind], tuple[int, Exception]] = {}
        self._several: dict[tuple[int, Kind], list[_Several]] = {}

    def expect(
        self, number: int, kind: Kind, index: int = 0, of: str = ""
    ) -> asyncio.Future[Received]:
        """A future for the last write of a transfer; ask before anybody can send it.

        Args:
            of: the node that sends it, if it is another one.

        Raises (from the future): WrongBytes when a write did not match its digest; whatever
        `fail` and `end` were given; NodeGone when `of` is lost.
        """
        if (number, kind, index) in self._ones:
            raise ProgramError(f"two wait for transfer {index} of {kind.name}, request {number}")
        future: asyncio.Future[Received] = self._loop.create_future()
        self._ones[number, kind, index] = _One(future, of)
        self._end_reached(number, kind)
        if of in self._lost:
            self.fail(number, kind, index, NodeGone(of))
        return future

    async def landed(self, number: int, kind: Kind, count: int, of: str = "") -> None:
        """Wait until `count` transfers of a kind have landed in all, since the last `forget`.

        Args:
            of: the node that sends them.

        Raises:
            NodeGone: it is lost.
        """
        if self._landed[number, kind] >= count:
            return
        if of in self._lost:
            raise NodeGone(of)
        future: asyncio.Future[None] = self._loop.create_future()
        self._several.setdefault((number, kind), []).append(_Several(count, future, of))
        await future

    def arrived(self, name: Name, received: Received, wrong: str) -> bool:
        """The last write of a transfer has landed; False if nobody has expected it.

        Args:
            wrong: what was wrong with its bytes; empty for nothing.
        """
        expected = self._ones.pop(name, None)
        if expected is None:
            return False
        if wrong and not expected.future.done():
            expected.future.set_exception(WrongBytes(wrong))
        elif not expected.future.done():
            expected.future.set_result(received)
        return True

    def count(self, number: int, kind: Kind) -> None:
        """One more transfer has landed, expected or not, and whoever was called for it is done."""
        if kind not in _COUNTED:
            return
        self._landed[number, kind] += 1
        landed = self._landed[number, kind]
        for waiting in self._several.get((number, kind), []):
            if landed >= waiting.transfers and not waiting.future.done():
                waiting.future.set_result(None)
        self._end_reached(number, kind)

    def fail(self, number: int, kind: Kind, index: int, error: Exception) -> None:
        """This transfer will never come: whoever waits for it gets `error`."""
        expected = self._ones.pop((number, kind, index), None)
        if expected is not None and not expected.future.done():
            expected.future.set_exception(error)

    def end(self, number: int, kind: Kind, count: int, error: Exception) -> None:
        """The sender has given the request up after `count` transfers of a kind.

        When so many have landed, whoever still waits for another gets `error`.
        """
        self._ends[number, kind] = (count, error)
        self._end_reached(number, kind)

    def _end_reached(self, number: int, kind: Kind) -> None:
        count, error = self._ends.get((number, kind), (None, None))
        if count is None or error is None or self._landed[number, kind] < count:
            return
        for name in [n for n in self._ones if n[:2] == (number, kind)]:
            self.fail(*name, error)

    def lose(self, node: str) -> None:
        """A node is lost: nothing of it is expected any more."""
        self._lost.add(node)
        for name, expected in list(self._ones.items()):
            if expected.source == node:
                self.fail(*name, NodeGone(node))
        for several in self._several.values():
            for waiting in several:
                if waiting.source == node and not waiting.future.done():
                    waiting.future.set_exception(NodeGone(node))

    def forget(self, number: int) -> list[str]:
        """A request has ended; names what of it is still to come, which nobody waits for now."""
        left = [name for name in self._ones if name[0] == number]
        for name in left:
            self._ones.pop(name).future.cancel()
        for table in (self._landed, self._ends, self._several):
            for pair in [p for p in table if p[0] == number]:
                del table[pair]
        return [f"{kind.name} {index}" for _, kind, index in left]
