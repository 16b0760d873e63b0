"""The queue pairs of one process, and its transfers as coroutines.

`Ports` sits between the engines, which think in transfers ("group 3 of request 7 is in HBM"), and
the transport, which thinks in writes.  It posts transfers, tells `Incoming` what has landed, checks
the digest of every write that carries one, and records every arrival.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

import xxhash

from agents.accounts import node_of
from agents.control.mesh import PeerLost
from agents.incoming import Incoming
from agents.process import Process
from agents.records import AccountRecord, TransferRecord
from agents.round_trips import PERIOD_S as ROUND_TRIP_PERIOD_S
from agents.round_trips import Connection, RoundTrips
from agents.traffic.submission import SubmissionClock, SubmissionCosts, submitter
from agents.wire.header import PATHS
from agents.wire.immediates import Immediate, Kind, unpack
from agents.wire.pair_names import parse_pair
from agents.wire.stream import StreamTransport
from agents.wire.transfers import Transfer
from agents.wire.transport import (
    Completion,
    Failed,
    QueuePair,
    Received,
    Sent,
    WriteRequest,
)
from testbed.errors import ProgramError

DATA_PORT = 7100
Arrival = Callable[[Immediate, Received], None]
_PATH_NAMES = {number: name for name, number in PATHS.items()}


class Ports:
    """Transfers of one process over its queue pairs.

    Args:
        process: where arrivals are recorded and failures end.
        write_bytes: longest single write.
        batched: writes that wait share system calls.
        submission: emulated cost of submitting transfers; None for no cost.
    """

    def __init__(
        self,
        process: Process,
        write_bytes: int,
        *,
        batched: bool = True,
        submission: SubmissionCosts | None = None,
    ) -> None:
        self._process = process
        self._write_bytes = write_bytes
        self._costs = submission
        self._clock = SubmissionClock()
        self._loop = asyncio.get_running_loop()
        self.transport = StreamTransport(self._loop, batched=batched)
        self.transport.on_completions(self._deliver)
        self._pairs: dict[str, QueuePair] = {}
        self._regions: dict[int, memoryview] = {}
        self._closed: set[str] = set()
        self.incoming = Incoming()
        self._handlers: dict[Kind, Arrival] = {}
        self._watchers: dict[Kind, Arrival] = {}
        self._wrong: dict[tuple[int, Kind, int], str] = {}
        # What waits for each write of a queue pair, in the order of posting: so they complete.
        self._posted: dict[str, deque[asyncio.Future[Sent | None] | None]] = {}
        self._changed = asyncio.Event()

    # --- connections -------------------------------------------------------------------

    def adopted(self, name: str, pair: QueuePair) -> None:
        """A queue pair is up."""
        self._pairs[name] = pair
        self._changed.set()

    async def connected(self, count: int) -> None:
        """Wait until `count` queue pairs are up."""
        while len(self._pairs) < count:
            self._changed.clear()
            await self._changed.wait()

    def lose(self, node: str) -> None:
        """A node is lost: close every queue pair with it, and expect nothing of it any more.

        From here on no byte of it lands, however late it was sent.
        """
        for pair in list(self._pairs):
            if node_of(parse_pair(pair).remote) == node and pair not in self._closed:
                self.transport.disconnect(pair)
                self._flush(pair)
        self.incoming.lose(node)

    def _flush(self, pair: str) -> None:
        """A queue pair is closed: what was posted will not be sent, and nobody waits for that."""
        self._closed.add(pair)
        for future in self._posted.pop(pair, ()):
            if future is not None and not future.done():
                future.set_result(None)

    def register(self, memory: memoryview) -> int:
        """Register a region; its key."""
        key = self.transport.register(memory)
        self._regions[key] = memory
        return key

    # --- transfers ---------------------------------------------------------------------

    def handle(self, kind: Kind, handler: Arrival) -> None:
        """Call `handler` at the end of every transfer of a kind that nobody expects."""
        self._handlers[kind] = handler

    def watch(self, kind: Kind, watcher: Arrival) -> None:
        """Call `watcher` at every write of a kind, whoever expects the transfer."""
        self._watchers[kind] = watcher

    def forget(self, number: int) -> None:
        """A request has ended.

        Raises:
            ProgramError: a transfer of it is still expected: it would land in memory that by then
                belongs to somebody else.
        """
        left = self.incoming.forget(number)
        if left and not self._process.mesh.closing:
            raise ProgramError(
                f"request {number} has ended, but {', '.join(left)} is still to come"
            )

    def post(self, pair: str, transfer: Transfer) -> asyncio.Future[Sent | None]:
        """Post a transfer; the future is done when its sources may be reused.

        It is None if the queue pair was closed before all had left: the node is lost, or this
        process is ending.
        """
        future: asyncio.Future[Sent | None] = self._loop.create_future()
        if pair in self._closed:
            future.set_result(None)
            return future
        batch = transfer.writes(self._write_bytes)
        self._posted.setdefault(pair, deque()).extend([*[None] * (len(batch) - 1), future])
        self._submit(pair, batch, transfer.blocks)
        return future

    def _submit(self, pair: str, batch: list[WriteRequest], blocks: int) -> None:
        """Post at once, or when the submitting engine has worked through its Layer Blocks.

        On one queue pair all transfers are charged or none is, so that writes stay in order.
        """
        who = submitter(pair, self._costs) if self._costs is not None and blocks else None
        if who is None or not who.block_s:
            self._pairs[pair].post(batch)
            return
        due_s = self._clock.submit(who, self._loop.time(), blocks)
        self._loop.call_at(due_s, self._pairs[pair].post, batch)

    # --- completions -------------------------------------------------------------------

    def _deliver(self, batch: list[Completion]) -> None:
        for completion in batch:
            if isinstance(completion, Received):
                self._arrived(completion)
            elif isinstance(completion, Sent):
                future = self._posted[completion.peer].popleft()
                if future is not None and not future.done():
                    future.set_result(completion)
            else:
                self._broken(completion)

    def _broken(self, failure: Failed) -> None:
        if not self._process.mesh.closing:
            self._flush(failure.peer)
            peer = ""
            if failure.peer in self._pairs:
                peer = node_of(parse_pair(failure.peer).remote)
            self._process._fail(PeerLost(f"queue pair {failure.peer}: {failure.reason}", peer))

    def _arrived(self, received: Received) -> None:
        what = unpack(received.immediate)
        route = parse_pair(received.peer)
        self._process.records.append(
            TransferRecord(
                request=what.number,
                kind=what.kind.name.lower(),
                path=_PATH_NAMES.get(received.path, "?"),
                source=route.remote,
                target=route.local,
                layer_first=received.layer_first,
                layer_count=received.layer_count,
                size_bytes=received.length,
                t_first_byte=received.first_byte_s,
                t_last_byte=received.last_byte_s,
                t_posted=received.posted_s,
                port=route.port,
            )
        )
        if what.kind in self._watchers:
            self._watchers[what.kind](what, received)
        name = (what.number, what.kind, what.part)
        if detail := self._mismatch(received):
            self._wrong.setdefault(name, detail)
        if not what.last:
            return
        wrong = self._wrong.pop(name, "")
        if not self.incoming.arrived(name, received, wrong):
            if what.kind in self._handlers:
                self._handlers[what.kind](what, received)
            else:
                self._process.event("late-arrival", what.number, f"{what.kind.name} {what.part}")
        self.incoming.count(what.number, what.kind)

    def _mismatch(self, received: Received) -> str:
        if received.digest == 0:
            return ""
        memory = self._regions[received.key][received.offset : received.offset + received.length]
        if xxhash.xxh3_64_intdigest(memory) == received.digest:
            return ""
        detail = f"{received.length} bytes from {received.peer} do not match their digest"
        self._process.event("wrong-bytes", received.request, detail)
        return detail

    async def watch_round_trips(self) -> None:
        """Record, now and then, the round trips of the queue pairs that are busy."""
        round_trips = RoundTrips()
        while True:
            await asyncio.sleep(ROUND_TRIP_PERIOD_S)
            busy = [
                Connection(*parse_pair(peer), sock, sent_bytes)
                for peer, sock, sent_bytes in self.transport.connections()
            ]
            for record in round_trips.sample(time.monotonic(), busy):
                self._process.records.append(record)

    def account(self) -> None:
        """Record what every queue pair has carried."""
        for name, (sent, received) in self.transport.accounts().items():
            self._process.records.append(AccountRecord(name, sent, received))

    def close(self) -> None:
        """Close every queue pair; whoever waits for what was posted need not wait any more."""
        self.transport.close()
        for pair in {*self._pairs, *self._posted}:
            self._flush(pair)
