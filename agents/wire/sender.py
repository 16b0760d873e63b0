"""The sending half of a queue pair: from posted writes to a non-blocking TCP socket."""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from agents.wire.transport import Completion, FileRange, Sent, WriteRequest

Piece: TypeAlias = memoryview | FileRange

# More than a socket takes at once is pinned and then not sent; IOV_MAX is 1024 (see sendmsg(2)).
_BATCH_BYTES = 512 * 1024
_BATCH_PIECES = 256
_CALLS_PER_TURN = 16  # then the other queue pairs have their turn


class BrokenPair(Exception):
    """A queue pair can carry nothing more; the message says why."""


class Message(NamedTuple):
    """A header and its payload, ready to be sent.

    Args:
        header: encoded.
        sources: the payload; memory is C-contiguous bytes.
        write: completes as `Sent`; None for a message that completes as nothing.
    """

    header: bytes
    sources: Sequence[Piece]
    write: WriteRequest | None


class _Pending(NamedTuple):
    """A message whose bytes have not all left.

    Args:
        write: of the message.
        end: of its bytes, counted from the start of the stream.
    """

    write: WriteRequest | None
    end: int


class Sender:
    """Sends messages in order.

    Args:
        sock: connected and non-blocking.
        peer: for completions; may be set later, before anything is posted.
        batched: messages that wait go out in one system call, as far as it takes them; else each
            has one of its own (work requests of one doorbell, or a doorbell each).
    """

    def __init__(self, sock: socket.socket, peer: str, *, batched: bool = True) -> None:
        self._socket = sock
        self.peer = peer
        self._batched = batched
        self._pieces: deque[Piece] = deque()
        self._pending: deque[_Pending] = deque()
        self._queued_bytes = 0  # position in the stream of the end of what is queued
        self.sent_bytes = 0

    @property
    def unsent(self) -> int:
        """Messages that have not left entirely."""
        return len(self._pending)

    def queue(self, message: Message) -> None:
        """Put a message behind the others."""
        self._pieces.append(memoryview(message.header))
        size = len(message.header)
        for source in message.sources:
            length = source.length if isinstance(source, FileRange) else len(source)
            if length:
                self._pieces.append(source)
                size += length
        self._queued_bytes += size
        self._pending.append(_Pending(message.write, self._queued_bytes))

    def push(self, completions: list[Completion]) -> bool:
        """Send as much as the socket takes.

        Returns:
            Whether everything has left; if not, there is more to do when the socket is writable.

        Raises:
            BrokenPair: a file is shorter than the range to be sent.
            OSError: of the socket.
        """
        for _ in range(_CALLS_PER_TURN):
            if not self._pieces:
                return True
            try:
                full = self._send_file() if self._next_is_file() else self._send_memory()
            except BlockingIOError:
                return False
            self._complete(completions)
            if full:
                break
        return not self._pieces

    def _next_is_file(self) -> bool:
        return isinstance(self._pieces[0], FileRange)

    def _send_memory(self) -> bool:
        """One sendmsg(2) of the pieces up to the next file; whether the socket is full now."""
        batch: list[memoryview] = []
        size = 0
        most = _BATCH_BYTES
        if not self._batched:
            most = min(most, self._pending[0].end - self.sent_bytes)
        for piece in self._pieces:
            if isinstance(piece, FileRange):
                break
            batch.append(piece)
            size += len(piece)
            if size >= most or len(batch) == _BATCH_PIECES:
                break
        # What follows at once shall share the last segment.
        more = len(batch) < len(self._pieces) and self._batched
        flags = socket.MSG_MORE if more else 0
        sent = self._socket.sendmsg(batch, (), flags)
        self.sent_bytes += sent
        full = sent < size
        while sent:
            piece = batch[0]
            if sent < len(piece):
                self._pieces[0] = piece[sent:]
                break
            sent -= len(piece)
            del batch[0]
            self._pieces.popleft()
        return full

    def _send_file(self) -> bool:
        """One sendfile(2); whether the socket is full now."""
        piece = self._pieces[0]
        assert isinstance(piece, FileRange)
        sent = os.sendfile(self._socket.fileno(), piece.fd, piece.offset, piece.length)
        if sent == 0:
            raise BrokenPair(f"a file ends {piece.length} bytes before a range that was posted")
        self.sent_bytes += sent
        if sent == piece.length:
            self._pieces.popleft()
            return False
        self._pieces[0] = FileRange(piece.fd, piece.offset + sent, piece.length - sent)
        # Short of the pages that one call takes, or the file has ended: ask again.  This also fills
        # the socket further than waiting for it to become writable, so there are fewer waits.
        return False

    def _complete(self, completions: list[Completion]) -> None:
        while self._pending and self._pending[0].end <= self.sent_bytes:
            write = self._pending.popleft().write
            if write is not None:
                completions.append(Sent(write.immediate, write.request, write.length, self.peer))
