"""One end of a queue pair over TCP: what is posted, what is sent, what is received."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from agents.wire.header import HELLO, LANE_TOS, LANES, MAX_NAME_BYTES, WRITE, Header, encode
from agents.wire.receiver import Receiver
from agents.wire.sender import Message, Piece, Sender
from agents.wire.transport import Completion, FileRange, WriteRequest
from testbed.errors import UnsupportedError, UsageError

_SIOCOUTQNSD = 0x894B  # linux/sockios.h: not yet sent


def set_lane(sock: socket.socket, lane: str) -> None:
    """Put what a socket sends into a virtual lane, by its IPv4 TOS byte (IP_TOS, see ip(7)).

    A socket that is yet to connect sends its SYN in the lane as well.

    Raises:
        UsageError: there is no such lane.
        UnsupportedError: the kernel did not take it.
    """
    if lane not in LANE_TOS:
        raise UsageError(f"there is no lane {lane!r}", hint=f"lanes are {', '.join(LANE_TOS)}")
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, LANE_TOS[lane])
    found = sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS)
    if found != LANE_TOS[lane]:
        raise UnsupportedError(f"TOS {LANE_TOS[lane]:#x} was asked for, the socket has {found:#x}")


class StreamPair:
    """One end of a queue pair.  Made by `StreamTransport`, whose loop's thread it belongs to."""

    def __init__(
        self,
        sock: socket.socket,
        peer: str,
        lane: str,
        regions: Mapping[int, memoryview],
        wake: Callable[[StreamPair], None],
        *,
        batched: bool = True,
    ) -> None:
        self.peer = peer
        self.lane = lane
        self.socket = sock
        self.sender = Sender(sock, peer, batched=batched)
        self.receiver = Receiver(sock, regions, peer, lane)
        self.broken = ""
        self.waits_to_write = False
        self._wake = wake
        self._posted: deque[Message] = deque()
        self._messages = 0

    def introduce(self, name: str) -> None:
        """Send a HELLO: who this end is."""
        body = name.encode()
        if not 1 <= len(body) <= MAX_NAME_BYTES:
            raise UsageError(
                f"the name {name!r} of a queue pair has {len(body)} bytes",
                hint=f"it must have 1 to {MAX_NAME_BYTES}",
            )
        blank = Header(HELLO, LANES[self.lane], 0, 0, 0, 0, 0, 0, 0, 0, len(body), 0, 0)
        self._add([(blank, [memoryview(body)], None)])

    def post(self, batch: Sequence[WriteRequest]) -> None:
        """Queue writes; returns at once.  Each completes as `Sent`, in order.

        On a broken queue pair, or after the transport was closed, nothing completes any more:
        `Failed` has said so.

        Raises:
            UsageError: a write's sources do not add up to its length, or are not plain bytes.
            HeaderError: a value does not fit the header.
        """
        lane = LANES[self.lane]
        self._add(
            [
                (
                    Header(
                        WRITE,
                        lane,
                        write.path,
                        0,
                        0,
                        write.layer_first,
                        write.layer_count,
                        write.request,
                        write.remote_key,
                        write.remote_offset,
                        write.length,
                        write.immediate,
                        write.digest,
                    ),
                    _plain(write),
                    write,
                )
                for write in batch
            ]
        )

    def _add(self, parts: list[tuple[Header, list[Piece], WriteRequest | None]]) -> None:
        posted_ns = time.monotonic_ns()
        # All of a batch, or (if a header is refused) nothing of it.
        messages = [
            Message(
                encode(header._replace(sequence=self._messages + position, posted=posted_ns)),
                sources,
                write,
            )
            for position, (header, sources, write) in enumerate(parts)
        ]
        self._messages += len(messages)
        self._posted.extend(messages)
        self._wake(self)

    def push(self, completions: list[Completion]) -> bool:
        """Send; whether everything posted has left."""
        while self._posted:
            self.sender.queue(self._posted.popleft())
        return self.sender.push(completions)

    def settle(self) -> None:
        """Count, of what is between this end and the socket, what has crossed the wire.

        Called before the socket is closed: what it has not sent yet is given up, what it has
        received is read by nobody.  Source: SIOCOUTQNSD and FIONREAD, see tcp(7).
        """
        unsent, unread = (_asked(self.socket, what) for what in (_SIOCOUTQNSD, termios.FIONREAD))
        self.sender.sent_bytes -= unsent
        self.receiver.received_bytes += unread

    def introduced(self) -> None:
        """The other end has said who it is, and in which lane."""
        self.peer = self.sender.peer = self.receiver.peer
        self.lane = self.receiver.lane
        set_lane(self.socket, self.lane)


def _asked(sock: socket.socket, what: int) -> int:
    """A number of bytes that the kernel knows of a socket."""
    answer = fcntl.ioctl(sock, what, struct.pack("i", 0))
    return int(struct.unpack("i", answer)[0])


def _plain(write: WriteRequest) -> list[Piece]:
    """The sources of a write as flat bytes, their lengths checked."""
    pieces: list[Piece] = []
    length = 0
    for source in write.sources:
        if isinstance(source, FileRange):
            if source.offset < 0 or source.length < 0:
                raise UsageError(f"{source} is not a range of a file")
            pieces.append(source)
            length += source.length
        elif source.c_contiguous:
            pieces.append(source.cast("B"))
            length += source.nbytes
        else:
            raise UsageError("memory to be sent must be contiguous", hint="gather it first")
    if length != write.length:
        raise UsageError(f"the sources of a write of {write.length} bytes have {length}")
    return pieces
