"""Answers that are on their way, and who waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from agents.loss import NodeGone
from testbed.errors import ProgramError


class Replies:
    """Futures of answers that are on their way, by (kind, number)."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, int], asyncio.Future[object]] = {}
        self._owed: dict[str, set[tuple[str, int]]] = {}
        self._lost: set[str] = set()

    def expect(self, kind: str, number: int, of: str = "") -> Awaitable[object]:
        """The answer of that number; at most one waiter each.

        Args:
            of: who owes it; if that node is lost, the answer is `NodeGone`.
        """
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        if (kind, number) in self._waiting:
            raise ProgramError(f"two waiters for {kind} {number}")
        if of in self._lost:
            future.set_exception(NodeGone(of))
            return future
        self._waiting[kind, number] = future
        if of:
            owed = self._owed.setdefault(of, set())
            owed.add((kind, number))
            future.add_done_callback(lambda _: owed.discard((kind, number)))
        return future

    def lose(self, node: str) -> None:
        """A node will answer nothing any more."""
        self._lost.add(node)
        for kind, number in list(self._owed.pop(node, ())):
            self.fail(kind, number, NodeGone(node))

    def resolve(self, kind: str, number: int, value: object) -> bool:
        """Hand the answer to its waiter; False if nobody waits for it (any more)."""
        future = self._waiting.pop((kind, number), None)
        if future is None or future.done():
            return False
        future.set_result(value)
        return True

    def fail(self, kind: str, number: int, error: Exception) -> None:
        """The answer of that number will be this error, if anybody waits for it."""
        future = self._waiting.pop((kind, number), None)
        if future is not None and not future.done():
            future.set_exception(error)
