"""The transport over TCP: one epoll set per process, for all its queue pairs.

Sockets come from outside, connected or listening, made in the memory domain they belong to.  The
side that connected introduces itself (HELLO); from then on both ends may write.  Progress is made
by the process's asyncio loop, which watches the epoll set; everything here belongs to its thread.

What goes wrong with one connection breaks that queue pair and is delivered as `Failed`; what
goes wrong in the progress itself breaks all of them, and is raised again by `close`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import select
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from agents.wire.header import HeaderError
from agents.wire.pair import StreamPair, set_lane
from agents.wire.sender import BrokenPair
from agents.wire.transport import Completion, Failed
from testbed.errors import ProgramError, UsageError

_RESET = struct.pack("ii", 1, 0)
_READ = select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR


class _Listener(NamedTuple):
    """A listening socket, and whom to tell about each peer that introduces itself."""

    socket: socket.socket
    on_peer: Callable[[str, StreamPair], None]


class _Stranger(NamedTuple):
    """An accepted connection that has not introduced itself yet."""

    pair: StreamPair
    on_peer: Callable[[str, StreamPair], None]


class StreamTransport:
    """The queue pairs and the registered memory of one process.

    Args:
        loop: makes progress; everything here is called in its thread.
        batched: writes that wait share system calls; False for one each.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, batched: bool = True) -> None:
        self._loop = loop
        self._batched = batched
        self._regions: dict[int, memoryview] = {}
        # A key of another process, or of an earlier run, should not be one of ours by chance.
        self._keys = itertools.count(int.from_bytes(os.urandom(4), "big") << 24 | 1)
        self._deliver: Callable[[list[Completion]], None] | None = None
        self._completions: list[Completion] = []
        self._pairs: dict[int, StreamPair] = {}
        self._strangers: dict[int, _Stranger] = {}
        self._listeners: dict[int, _Listener] = {}
        self._accounts: dict[str, tuple[int, int]] = {}  # of pairs that are gone
        self._arrivals: deque[StreamPair | _Listener] = deque()
        self._woken = False
        self._epoll = select.epoll()
        self._watched = False
        self._closed = False
        self._failure: BaseException | None = None

    def register(self, memory: memoryview) -> int:
        """Make writable memory a target of remote writes; returns its key.

        Raises:
            UsageError: it is read-only, or not contiguous.
        """
        if memory.readonly or not memory.c_contiguous:
            raise UsageError("only writable, contiguous memory can be a region")
        key = next(self._keys)
        self._regions[key] = memory.cast("B")
        return key

    def deregister(self, key: int) -> None:
        """Withdraw a region.  A write to it that begins later breaks its queue pair."""
        if self._regions.pop(key, None) is None:
            raise UsageError(f"region {key:#x} is not registered")

    def on_completions(self, deliver: Callable[[list[Completion]], None]) -> None:
        """`deliver` is called with completions, in batches."""
        self._deliver = deliver

    def adopt(
        self, sock: socket.socket, peer: str, *, lane: str = "kv", hello: str | None = None
    ) -> StreamPair:
        """Make a queue pair of a socket that has connected to a listening transport; takes it over.

        Args:
            sock: a connected IPv4 TCP socket.
            peer: what completions of this end call it.
            lane: "model" or "kv"; both ends send in it.
            hello: what completions of the other end call it; `peer` if not given.
        """
        self._start()
        self._prepare(sock)
        set_lane(sock, lane)
        pair = self._pair(sock, peer, lane)
        pair.introduce(hello if hello is not None else peer)
        return pair

    def listen(self, sock: socket.socket, on_peer: Callable[[str, StreamPair], None]) -> None:
        """Accept queue pairs; takes the socket over.

        Args:
            sock: a listening IPv4 TCP socket.
            on_peer: called for each peer with the name that it introduced itself by, before
                anything that it writes completes.
        """
        self._start()
        sock.setblocking(False)
        self._wake(_Listener(sock, on_peer))

    def disconnect(self, peer: str) -> None:
        """Close the queue pair of that name at once: it is in the error state from then on.

        Nothing more of it lands in registered memory, what is posted is given up, and nothing of
        it completes any more.  The other end sees a reset (SO_LINGER, see socket(7)): what has
        left for it and was not delivered is dropped.

        Raises:
            UsageError: there is no such queue pair.
        """
        adopted = [what for what in self._arrivals if isinstance(what, StreamPair)]
        for pair in [*self._pairs.values(), *adopted]:
            if pair.peer == peer and not pair.broken:
                self._pairs.pop(pair.socket.fileno(), None)
                pair.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                self._drop(pair, "it was disconnected")
                return
        raise UsageError(f"there is no queue pair {peer}")

    def accounts(self) -> dict[str, tuple[int, int]]:
        """Bytes sent and received per peer, headers included; also of queue pairs that are gone."""
        totals = dict(self._accounts)
        for pair in list(self._pairs.values()):
            _add_account(totals, pair)
        return totals

    def connections(self) -> list[tuple[str, socket.socket, int]]:
        """Peer, socket and bytes sent so far of each queue pair that is up."""
        return [(p.peer, p.socket, p.sender.sent_bytes) for p in self._pairs.values() if p.peer]

    def close(self) -> None:
        """Close every socket; what is posted and unsent is given up.

        Raises:
            ProgramError: progress had failed with an exception (its cause).
        """
        if not self._closed:
            self._closed = True
            if self._watched:
                self._loop.remove_reader(self._epoll.fileno())
            self._drop_all()
            self._epoll.close()
            self._regions.clear()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise ProgramError(f"the transport had failed: {failure!r}") from failure

    def _start(self) -> None:
        if self._deliver is None:
            raise UsageError(
                "nobody receives this transport's completions", hint="call on_completions first"
            )
        if self._closed or self._failure is not None:
            raise ProgramError("the transport is closed") from self._failure
        if not self._watched:
            self._watched = True
            self._loop.add_reader(self._epoll.fileno(), self._turn)

    def _pair(self, sock: socket.socket, peer: str, lane: str) -> StreamPair:
        return StreamPair(sock, peer, lane, self._regions, self._wake, batched=self._batched)

    def _prepare(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        # A message that ends in a short segment would wait for an ACK of those before it.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _wake(self, what: StreamPair | _Listener) -> None:
        if isinstance(what, StreamPair) and what.waits_to_write:
            return  # it takes what was posted when its socket is writable again
        self._arrivals.append(what)
        if not self._woken and not self._closed:
            self._woken = True
            self._loop.call_soon(self._posted)

    # --- progress ------------------------------------------------------------------------

    def _turn(self) -> None:
        """The epoll set has something to do."""
        self._guarded(self._serve_ready)

    def _serve_ready(self) -> None:
        for fd, events in self._epoll.poll(0):
            self._serve(fd, events)

    def _posted(self) -> None:
        """Something was posted, adopted or listened to since the loop's last turn."""
        self._guarded(self._take_arrivals)

    def _guarded(self, work: Callable[[], object]) -> None:
        if self._closed or self._failure is not None:
            return
        try:
            work()
            self._hand_over()
        except BaseException as error:
            self._fail(error)
            raise

    def _fail(self, error: BaseException) -> None:
        self._failure = error
        self._completions += [
            Failed(pair.peer, f"the transport failed: {error!r}") for pair in self._pairs.values()
        ]
        self._drop_all()
        # If it was `deliver` that failed, it may again; close() raises what it failed of.
        with contextlib.suppress(Exception):
            self._hand_over()

    def _hand_over(self) -> None:
        if self._completions:
            batch, self._completions = self._completions, []
            assert self._deliver is not None
            self._deliver(batch)

    def _serve(self, fd: int, events: int) -> None:
        pair = self._pairs.get(fd)
        if pair is not None:
            self._progress(pair, events)
        elif fd in self._listeners:
            self._accept(self._listeners[fd])
        elif fd in self._strangers:
            self._meet(self._strangers[fd])

    def _take_arrivals(self) -> None:
        self._woken = False
        while self._arrivals:
            what = self._arrivals.popleft()
            if isinstance(what, _Listener):
                self._listeners[what.socket.fileno()] = what
                self._epoll.register(what.socket, select.EPOLLIN)
            elif not what.broken:
                if what.socket.fileno() not in self._pairs:
                    self._pairs[what.socket.fileno()] = what
                    self._epoll.register(what.socket, select.EPOLLIN)
                if not what.waits_to_write:
                    self._progress(what, select.EPOLLOUT)

    def _progress(self, pair: StreamPair, events: int) -> None:
        try:
            if events & _READ:
                pair.receiver.pull(self._completions)
            if events & select.EPOLLOUT:
                waits = not pair.push(self._completions)
                if waits != pair.waits_to_write:
                    pair.waits_to_write = waits
                    mask = select.EPOLLIN | (select.EPOLLOUT if waits else 0)
                    self._epoll.modify(pair.socket, mask)
        except (BrokenPair, HeaderError, OSError) as error:
            self._break(pair, str(error))

    def _break(self, pair: StreamPair, reason: str) -> None:
        unsent = pair.sender.unsent
        if unsent:
            reason += f"; {unsent} messages were not sent"
        self._completions.append(Failed(pair.peer, reason))
        del self._pairs[pair.socket.fileno()]
        self._drop(pair, reason)

    def _drop(self, pair: StreamPair, reason: str) -> None:
        pair.broken = reason
        pair.settle()
        _add_account(self._accounts, pair)
        pair.socket.close()  # epoll forgets it by itself

    def _drop_all(self) -> None:
        while self._pairs:
            self._drop(self._pairs.popitem()[1], "the transport is closed")
        while self._strangers:
            self._strangers.popitem()[1].pair.socket.close()
        while self._listeners:
            self._listeners.popitem()[1].socket.close()
        while self._arrivals:
            self._arrivals.popleft().socket.close()

    def _accept(self, listener: _Listener) -> None:
        while True:
            try:
                sock, _ = listener.socket.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue  # it has gone while it was in the queue
            self._prepare(sock)
            pair = self._pair(sock, "", "")
            self._strangers[sock.fileno()] = _Stranger(pair, listener.on_peer)
            self._epoll.register(sock, select.EPOLLIN)

    def _meet(self, stranger: _Stranger) -> None:
        pair = stranger.pair
        early: list[Completion] = []  # writes may follow the HELLO at once
        failure = ""
        try:
            pair.receiver.pull(early)
        except (BrokenPair, HeaderError, OSError) as error:
            failure = str(error)
        if pair.receiver.peer:
            pair.introduced()
            fd = pair.socket.fileno()
            self._pairs[fd] = self._strangers.pop(fd).pair
            stranger.on_peer(pair.peer, pair)
            self._completions += early
            if failure:
                self._break(pair, failure)
        elif failure:
            del self._strangers[pair.socket.fileno()]
            who = _address(pair.socket)
            pair.socket.close()
            self._completions.append(Failed(who, f"before it introduced itself: {failure}"))


def _address(sock: socket.socket) -> str:
    try:
        host, port = sock.getpeername()
    except OSError:
        return "a connection that is gone"
    return f"{host}:{port}"


def _add_account(totals: dict[str, tuple[int, int]], pair: StreamPair) -> None:
    sent, received = totals.get(pair.peer, (0, 0))
    totals[pair.peer] = (
        sent + pair.sender.sent_bytes,
        received + pair.receiver.received_bytes,
    )
