"""What a node has been given and has not finished: what its leader reports.

Requests enter an engine's account when the node takes them and leave it when they end, well or
not.  Reads enter the read queue at the same moment, whether or not there is a buffer for them yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from agents.scheduler.state import EngineReport, GroupReport


class _Held(NamedTuple):
    rail: int
    tokens: int
    reserved_bytes: int


class _Read(NamedTuple):
    tokens: int
    size_bytes: int
    arrived_bytes: int = 0


class Account:
    """The account of one node.

    Args:
        node: its name.
        rails: its engines.
        by_bytes: the read queue gets shorter with every write that arrives; else only when a
            whole read ends.
        reports: somebody will ask; what was taken is not kept for nobody.
    """

    def __init__(self, node: str, rails: int, *, by_bytes: bool, reports: bool = True) -> None:
        self._node = node
        self._rails = rails
        self._by_bytes = by_bytes
        self._reports = reports
        self._held: dict[int, _Held] = {}
        self._reads: dict[int, _Read] = {}
        self._taken: list[int] = []
        self._reads_taken: list[int] = []

    def take(self, request: int, rail: int, tokens: int, hbm_bytes: int = 0) -> None:
        """An engine has a request from now on; it will need so much HBM for it."""
        self._held[request] = _Held(rail, tokens, hbm_bytes)
        if self._reports:
            self._taken.append(request)

    def in_hbm(self, request: int) -> None:
        """The request has its HBM: nothing is reserved for it any more."""
        self._held[request] = self._held[request]._replace(reserved_bytes=0)

    def end(self, request: int) -> None:
        """A request has ended, and its read with it."""
        del self._held[request]
        self._reads.pop(request, None)

    def queue_read(self, request: int, tokens: int, size_bytes: int) -> None:
        """A read has joined the queue."""
        self._reads[request] = _Read(tokens, size_bytes)
        if self._reports:
            self._reads_taken.append(request)

    def read_arrived(self, request: int, size_bytes: int) -> None:
        """Part of a read has arrived."""
        read = self._reads.get(request)
        if self._by_bytes and read is not None:
            self._reads[request] = read._replace(arrived_bytes=read.arrived_bytes + size_bytes)

    def end_read(self, request: int) -> None:
        """A read has left the queue, well or not."""
        self._reads.pop(request, None)

    def report(self, free_hbm_bytes: Sequence[int]) -> GroupReport:
        """For the scheduler; what was taken is said once.

        Args:
            free_hbm_bytes: of each engine, not allocated now.
        """
        rails = range(self._rails)
        requests, tokens, reserved = ([0] * self._rails for _ in range(3))
        for held in self._held.values():
            requests[held.rail] += 1
            tokens[held.rail] += held.tokens
            reserved[held.rail] += held.reserved_bytes
        taken, self._taken = self._taken, []
        reads_taken, self._reads_taken = self._reads_taken, []
        return GroupReport(
            self._node,
            [EngineReport(requests[k], tokens[k], free_hbm_bytes[k], reserved[k]) for k in rails],
            sum(_left(read) for read in self._reads.values()),
            len(self._reads),
            taken,
            reads_taken,
        )


def _left(read: _Read) -> int:
    """Tokens that have not arrived, a part of one counted as a whole."""
    left_bytes = max(0, read.size_bytes - read.arrived_bytes)
    return -(-read.tokens * left_bytes // read.size_bytes)
