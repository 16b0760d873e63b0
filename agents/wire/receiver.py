"""The receiving half of a queue pair: from a non-blocking TCP socket into registered memory."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping

from agents.wire.header import HEADER_BYTES, HELLO, LANES, Header, decode
from agents.wire.sender import BrokenPair
from agents.wire.transport import Completion, Received

_READS_PER_TURN = 16  # then the other queue pairs have their turn

# A payload that comes slower than it is read wakes the loop for every few kilobytes; the
# socket is told to keep quiet until this much is there (SO_RCVLOWAT, see socket(7)).  It is half
# the receive buffer of the plans' tcp_rmem, the most that the kernel takes.
LOW_WATER_BYTES = 128 * 1024

_NOTHING = memoryview(b"")
_LANE_NAMES = {number: name for name, number in LANES.items()}


class Receiver:
    """Reads messages.

    A payload goes from the socket straight to where it belongs.  The header of the next message is
    read by the same call as the rest of a payload.

    Args:
        sock: connected and non-blocking.
        regions: registered memory by key.
        peer: for completions; "" until a HELLO has said who it is.
        lane: what every header must say; "" until a HELLO has said it.
    """

    def __init__(
        self, sock: socket.socket, regions: Mapping[int, memoryview], peer: str, lane: str
    ) -> None:
        self._socket = sock
        self._regions = regions
        self.peer = peer
        self.lane = lane
        self.received_bytes = 0
        self._messages = 0
        self._next = memoryview(bytearray(HEADER_BYTES))
        self._next_have = 0
        self._header: Header | None = None
        self._rest = _NOTHING  # of the payload, where it goes
        self._name = bytearray()
        self._first_byte_s = 0.0
        self._low_water_bytes = 1

    def pull(self, completions: list[Completion]) -> None:
        """Read what is there.

        Raises:
            BrokenPair: the peer has closed, or wants what it may not.
            HeaderError: what came is not a header.
            OSError: of the socket.
        """
        for _ in range(_READS_PER_TURN):
            wanted = len(self._rest) + HEADER_BYTES - self._next_have
            try:
                if self._header is None:
                    got = self._socket.recv_into(self._next[self._next_have :])
                else:
                    got = self._socket.recvmsg_into([self._rest, self._next])[0]
            except BlockingIOError:
                break  # the mark must fall all the same: less than before may be on its way
            if got == 0:
                raise BrokenPair(self._why_closed())
            self.received_bytes += got
            self._take(got, time.monotonic(), completions)
            if got < wanted:
                break  # the socket is empty, see epoll(7)
        self._set_low_water(max(1, min(LOW_WATER_BYTES, len(self._rest))))

    def _why_closed(self) -> str:
        if self._header is not None:
            there = self._header.length - len(self._rest)
            return f"the peer closed it after {there} of the {self._header.length} bytes of a write"
        if self._next_have:
            return "the peer closed it in the middle of a header"
        return "the peer closed it"

    def _take(self, got: int, now_s: float, completions: list[Completion]) -> None:
        if self._header is not None:
            payload = min(got, len(self._rest))
            self._rest = self._rest[payload:]
            got -= payload
            if len(self._rest):
                return
            self._finish(self._header, now_s, completions)
        self._next_have += got
        if self._next_have == HEADER_BYTES:
            self._begin(decode(self._next), now_s, completions)

    def _begin(self, header: Header, now_s: float, completions: list[Completion]) -> None:
        expected = self._messages & 0xFFFF
        if header.sequence != expected:
            raise BrokenPair(f"message {header.sequence} came when {expected} was due")
        self._messages += 1
        self._next_have = 0
        if header.kind == HELLO:
            self._begin_hello(header)
        else:
            self._rest = self._target(header)
        self._header = header
        self._first_byte_s = now_s
        if header.length == 0:
            self._finish(header, now_s, completions)

    def _begin_hello(self, header: Header) -> None:
        if self.peer:
            raise BrokenPair("a second HELLO")
        self.lane = _LANE_NAMES[header.lane]
        self._name = bytearray(header.length)
        self._rest = memoryview(self._name)

    def _target(self, header: Header) -> memoryview:
        if not self.peer:
            raise BrokenPair("a write before HELLO")
        if _LANE_NAMES[header.lane] != self.lane:
            raise BrokenPair(f"a write of lane {_LANE_NAMES[header.lane]} on lane {self.lane}")
        region = self._regions.get(header.key)
        if region is None:
            raise BrokenPair(f"a write to region {header.key:#x}, which is not registered")
        end = header.offset + header.length
        if end > len(region):
            raise BrokenPair(
                f"a write to bytes {header.offset}…{end} of region {header.key:#x},"
                f" which has {len(region)}"
            )
        return region[header.offset : end]

    def _finish(self, header: Header, now_s: float, completions: list[Completion]) -> None:
        self._header = None
        self._rest = _NOTHING  # a region may be withdrawn between two writes
        if header.kind == HELLO:
            try:
                self.peer = self._name.decode()
            except UnicodeDecodeError as error:
                raise BrokenPair("a HELLO whose name is not UTF-8") from error
            return
        completions.append(
            Received(
                header.immediate,
                header.request,
                header.layer_first,
                header.layer_count,
                header.path,
                header.digest,
                header.key,
                header.offset,
                header.length,
                self.peer,
                self._first_byte_s,
                now_s,
                header.posted / 1e9,
            )
        )

    def _set_low_water(self, low_water_bytes: int) -> None:
        if low_water_bytes != self._low_water_bytes:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, low_water_bytes)
            self._low_water_bytes = low_water_bytes
