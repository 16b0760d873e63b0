"""The queue pairs of one process, and its transfers as coroutines.

`Ports` sits between the engines, which think in transfers ("group 3 of request 7 is in HBM"), and
the transport, which thinks in writes.  It cuts transfers into writes, wakes whoever waits
for one, checks the digest of every write that carries one, and records every arrival.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, TypeAlias

import xxhash

from agents.accounts import node_of
from agents.control.mesh import PeerLost
from agents.loss import NodeGone
from agents.process import Process
from agents.records import AccountRecord, TransferRecord
from agents.round_trips import PERIOD_S as ROUND_TRIP_PERIOD_S
from agents.round_trips import Connection, RoundTrips
from agents.traffic.submission import SubmissionClock, SubmissionCosts, submitter
from agents.wire.header import PATHS
from agents.wire.immediates import Immediate, Kind, pack, unpack
from agents.wire.stream import StreamTransport
from agents.wire.transport import (
    Completion,
    Failed,
    FileRange,
    QueuePair,
    Received,
    Sent,
    WriteRequest,
)
from testbed.errors import ProgramError

DATA_PORT = 7100
Source: TypeAlias = memoryview | FileRange
Side = Literal["caller", "called"]
Arrival = Callable[[Immediate, Received], None]
# Kinds whose transfers are counted by request: their sender may give up in the middle.
_COUNTED = frozenset({Kind.KV_RETURN, Kind.CHUNK_RETURN, Kind.LAYER_FETCH, Kind.CHUNK_FETCH})
_PATH_NAMES = {number: name for name, number in PATHS.items()}


class WrongBytes(Exception):
    """Bytes that arrived are not those that were sent, or not those that were meant."""


class Route(NamedTuple):
    """The two memory domains that a queue pair joins, seen from this process, and its port."""

    local: str
    remote: str
    port: str  # that was called; with its lane, if that is not kv


class _Expected(NamedTuple):
    """A transfer that somebody waits for, and the node that it comes from."""

    future: asyncio.Future[Received]
    source: str


class _Landing(NamedTuple):
    """Somebody who waits for so many transfers of a kind."""

    transfers: int
    future: asyncio.Future[None]
    source: str


class Transfer(NamedTuple):
    """A transfer to post: source memory, where it goes, and what it is.

    Args:
        number: the request (or put) it belongs to, and `kind`, `part` what part of it.
        key, offset: the remote region and where in it.
        digest: send the xxh3-64 of every write along (memory sources only).
        blocks: Layer Blocks in it, whose submission is charged where that is emulated.
    """

    kind: Kind
    number: int
    part: int
    sources: Sequence[Source]
    key: int
    offset: int
    layer_first: int = 0
    layer_count: int = 0
    path: str = "none"
    digest: bool = False
    blocks: int = 0


def source_bytes(source: Source) -> int:
    """Length of memory or of a file range."""
    return source.length if isinstance(source, FileRange) else source.nbytes


def cut(sources: Sequence[Source], limit: int) -> list[list[Source]]:
    """Split a list of sources into writes of at most `limit` bytes, in order."""
    writes: list[list[Source]] = []
    room = 0
    for source in sources:
        at, length = 0, source_bytes(source)
        while at < length:
            if room == 0:
                writes.append([])
                room = limit
            take = min(room, length - at)
            if isinstance(source, FileRange):
                piece: Source = FileRange(source.fd, source.offset + at, take)
            else:
                piece = source[at : at + take]
            writes[-1].append(piece)
            at += take
            room -= take
    return writes


class Ports:
    """Transfers of one process over its queue pairs.

    A transfer that is expected stays expected until its last write has landed, or until its sender
    has said that it will never come (`fail`, `end`), or is lost (`lose`).  So whoever has waited
    for all that it expected may give the memory back: nothing will write into it any more.

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
        self._lost: set[str] = set()
        self._closed: set[str] = set()
        self._arrivals: dict[tuple[int, Kind, int], _Expected] = {}
        self._handlers: dict[Kind, Arrival] = {}
        self._watchers: dict[Kind, Arrival] = {}
        self._wrong: dict[tuple[int, Kind, int], str] = {}
        self._landed: Counter[tuple[int, Kind]] = Counter()
        self._ends: dict[tuple[int, Kind], tuple[int, Exception]] = {}
        self._waiting: dict[tuple[int, Kind], list[_Landing]] = {}
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
        self._lost.add(node)
        for pair in list(self._pairs):
            if node_of(parse_pair(pair).remote) == node and pair not in self._closed:
                self.transport.disconnect(pair)
                self._flush(pair)
        for name, expected in list(self._arrivals.items()):
            if expected.source == node:
                self.fail(*name, NodeGone(node))
        for waiting in self._waiting.values():
            for landing in waiting:
                if landing.source == node and not landing.future.done():
                    landing.future.set_exception(NodeGone(node))

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

    def expect(
        self, number: int, kind: Kind, index: int = 0, of: str = ""
    ) -> asyncio.Future[Received]:
        """A future for the last write of a transfer; ask before anybody can send it.

        Args:
            of: the node that sends it, if it is another one.

        Raises (from the future): WrongBytes when a write did not match its digest; whatever
        `fail` and `end` were given; NodeGone when `of` is lost.
        """
        if (number, kind, index) in self._arrivals:
            raise ProgramError(f"two wait for transfer {index} of {kind.name}, request {number}")
        future: asyncio.Future[Received] = self._loop.create_future()
        self._arrivals[number, kind, index] = _Expected(future, of)
        self._end_reached(number, kind)
        if of in self._lost:
            self.fail(number, kind, index, NodeGone(of))
        return future

    def handle(self, kind: Kind, handler: Arrival) -> None:
        """Call `handler` at the end of every transfer of a kind that nobody expects."""
        self._handlers[kind] = handler

    def watch(self, kind: Kind, watcher: Arrival) -> None:
        """Call `watcher` at every write of a kind, whoever expects the transfer."""
        self._watchers[kind] = watcher

    def fail(self, number: int, kind: Kind, index: int, error: Exception) -> None:
        """This transfer will never come: whoever waits for it gets `error`."""
        expected = self._arrivals.pop((number, kind, index), None)
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
        for name in [n for n in self._arrivals if n[:2] == (number, kind)]:
            self.fail(*name, error)

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
        self._waiting.setdefault((number, kind), []).append(_Landing(count, future, of))
        await future

    def forget(self, number: int) -> None:
        """A request has ended.

        Raises:
            ProgramError: a transfer of it is still expected: it would land in memory that by then
                belongs to somebody else.
        """
        left = [name for name in self._arrivals if name[0] == number]
        for name in left:
            self._arrivals.pop(name).future.cancel()
        for table in (self._landed, self._ends, self._waiting):
            for pair in [p for p in table if p[0] == number]:
                del table[pair]
        if left and not self._process.mesh.closing:
            what = ", ".join(f"{kind.name} {index}" for _, kind, index in left)
            raise ProgramError(f"request {number} has ended, but {what} is still to come")

    def post(self, pair: str, transfer: Transfer) -> asyncio.Future[Sent | None]:
        """Post a transfer; the future is done when its sources may be reused.

        It is None if the queue pair was closed before all had left: the node is lost.
        """
        future: asyncio.Future[Sent | None] = self._loop.create_future()
        if pair in self._closed:
            future.set_result(None)
            return future
        # A transfer may be empty (one token has no byte in a small layer) and still arrive.
        writes = cut(transfer.sources, self._write_bytes) or [[]]
        batch = []
        at = transfer.offset
        for position, sources in enumerate(writes):
            length = sum(source_bytes(source) for source in sources)
            last = position == len(writes) - 1
            batch.append(
                WriteRequest(
                    sources=sources,
                    remote_key=transfer.key,
                    remote_offset=at,
                    length=length,
                    immediate=pack(transfer.number, transfer.kind, transfer.part, last=last),
                    request=transfer.number,
                    layer_first=transfer.layer_first,
                    layer_count=transfer.layer_count,
                    path=PATHS[transfer.path],
                    digest=_digest(sources) if transfer.digest else 0,
                )
            )
            at += length
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
        expected = self._arrivals.pop(name, None)
        if expected is not None:
            if wrong and not expected.future.done():
                expected.future.set_exception(WrongBytes(wrong))
            elif not expected.future.done():
                expected.future.set_result(received)
        elif what.kind in self._handlers:
            self._handlers[what.kind](what, received)
        else:
            self._process.event("late-arrival", what.number, f"{what.kind.name} {what.part}")
        if what.kind in _COUNTED:
            self._count(what.number, what.kind)

    def _count(self, number: int, kind: Kind) -> None:
        self._landed[number, kind] += 1
        landed = self._landed[number, kind]
        for landing in self._waiting.get((number, kind), []):
            if landed >= landing.transfers and not landing.future.done():
                landing.future.set_result(None)
        self._end_reached(number, kind)

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
        """Close every queue pair."""
        self.transport.close()


def _digest(sources: Sequence[Source]) -> int:
    state = xxhash.xxh3_64()
    for source in sources:
        if isinstance(source, FileRange):
            raise ProgramError("a file range cannot carry a digest of its own")
        state.update(source)
    return state.intdigest()


def pair_name(caller: str, target: str, device: str, side: Side, lane: str = "kv") -> str:
    """The name of one end of a queue pair: who called which port, in which lane, which end."""
    port = device if lane == "kv" else f"{device}:{lane}"
    return f"{caller}>{target}/{port}#{side}"


@functools.cache
def parse_pair(name: str) -> Route:
    """The domains that a queue pair joins, seen from the end that `name` names."""
    ends, _, side = name.partition("#")
    caller, _, called = ends.partition(">")
    target, _, port = called.partition("/")
    return Route(caller, target, port) if side == "caller" else Route(target, caller, port)
