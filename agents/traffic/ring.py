"""Ring all-reduce among the GPUs of a node, for dense models (tensor parallelism over NVLink).

A tensor of S bytes is cut into g chunks.  In each of 2(g-1) steps every GPU sends one chunk to the
next one: g-1 steps add up (reduce-scatter), g-1 hand the sums round (all-gather), so that each
GPU sends 2(g-1)/g of S.  A GPU takes its next step when the one before it has sent its last.

One process serves all GPUs of a node, so one call begins the step of each, and no member can be
missing.  The engines of a role on different nodes are replicas of a dense model and do not talk
to each other.  Source: Patarasuk and Yuan, J. Parallel Distrib. Comput. 69 (2009).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from agents.ports import Ports
from agents.traffic.exchange import Finished
from agents.traffic.members import SLOT_BYTES, Members
from agents.wire.immediates import Immediate, Kind
from agents.wire.pair_names import parse_pair
from agents.wire.transfers import Transfer
from agents.wire.transport import Received

_RAIL_BITS = 6  # of a part: the sender's rail below its step; see `members.MOST_RAILS`


class _Reduction:
    """An all-reduce that is under way."""

    def __init__(self, engine: int, chunk_bytes: int, rails: int) -> None:
        self.engine = engine
        self.chunk_bytes = chunk_bytes
        self.left = rails
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Ring:
    """The all-reduces of one node.

    Args:
        ports: of the node.
        members: of the role; only the own node's take part.
        keys: of the own inboxes, by rail.
        activations: what is sent: bytes that never change.
        number: makes a number for an operation of a rail.
        digest: send the digest of every write along.
    """

    def __init__(
        self,
        ports: Ports,
        members: Members,
        keys: list[int],
        activations: memoryview,
        number: Callable[[int], int],
        *,
        digest: bool,
    ) -> None:
        self._ports = ports
        self._members = members
        self._keys = keys
        self._activations = activations
        self._number = number
        self._digest = digest
        self._steps = 2 * (members.rails - 1)
        self._running: dict[int, _Reduction] = {}
        ports.handle(Kind.REDUCE, self._arrived)

    async def run(self, rail: int, size_bytes: int) -> Finished:
        """All-reduce a tensor of an engine's tokens; all GPUs of the node take part.

        Args:
            rail: whose tokens they are; an engine has one all-reduce under way at a time.
            size_bytes: of the tensor.
        """
        if not self._members.others(rail):
            return Finished(0, 0, time.monotonic())
        rails = self._members.rails
        chunk = -(-size_bytes // rails)
        most = SLOT_BYTES // self._steps  # every step has a landing place of its own
        parts = max(1, -(-chunk // most))
        number = 0
        for _ in range(parts):
            number = await self._part(rail, -(-chunk // parts))
        sent = parts * -(-chunk // parts) * self._steps * rails
        return Finished(number, sent, time.monotonic())

    async def _part(self, rail: int, chunk_bytes: int) -> int:
        """An all-reduce that fits the landing places; its number."""
        number = self._number(rail)
        engine = self._members.engine(self._members.number, rail)
        reduction = _Reduction(engine, chunk_bytes, self._members.rails)
        self._running[number] = reduction
        for each in range(self._members.rails):
            self._step(number, reduction, each, 0)
        try:
            await reduction.done
        finally:
            del self._running[number]
        return number

    def _step(self, number: int, reduction: _Reduction, rail: int, step: int) -> None:
        target = (rail + 1) % self._members.rails
        chunk = reduction.chunk_bytes
        at = self._members.tokens_at(reduction.engine) + step * chunk
        transfer = Transfer(
            Kind.REDUCE, number, step << _RAIL_BITS | rail, [self._activations[:chunk]],
            self._keys[target], at, digest=self._digest,
        )  # fmt: skip
        self._ports.post(self._members.to_gpu(rail, target), transfer)

    def _arrived(self, what: Immediate, received: Received) -> None:
        reduction = self._running[what.number]
        step = what.part >> _RAIL_BITS
        rail = self._members.rail_of(parse_pair(received.peer).local)
        if step + 1 < self._steps:
            self._step(what.number, reduction, rail, step + 1)
            return
        reduction.left -= 1
        if reduction.left == 0 and not reduction.done.done():
            reduction.done.set_result(None)
