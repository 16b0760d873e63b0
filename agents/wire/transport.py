"""Moving KV bytes, in the shape of RDMA verbs.

Memory is *registered* as a region with a key.  A one-sided *write* copies a range of local
memory (or of a file) into a range of a remote region, and hands the remote side an immediate
value together with a completion.  Writes on one queue pair arrive in order; they are posted in
batches and complete in order.  `agents.wire.stream` implements this over TCP; another backend
(verbs, a fluid model of the network) has to offer only what is here.

Source of the shape: ibv_post_send(3), IBV_WR_RDMA_WRITE_WITH_IMM.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol


class FileRange(NamedTuple):
    """A source that is not in memory: bytes of an open file, sent by sendfile(2).

    The socket may hold on to the file's pages after the write has completed, and on one machine
    so may the receiver's: these bytes of the file must not change before it has received them.
    """

    fd: int
    offset: int
    length: int


class WriteRequest(NamedTuple):
    """One one-sided write.

    Args:
        sources: memory or file ranges, sent back to back; their lengths add up to `length`.
        remote_key, remote_offset: where they land; the range must lie inside the region.
        length: bytes in all.
        immediate: 64 bits handed to the receiver (what it means is the receiver's affair).
        request: the request whose KV this is.
        layer_first, layer_count: the layers in it; `layer_count` 0 means all (Full Blocks).
        path: the read path, one of PATHS in `agents.wire.header`.
        digest: xxh3-64 of the payload, 0 if the sender gives none.
    """

    sources: Sequence[memoryview | FileRange]
    remote_key: int
    remote_offset: int
    length: int
    immediate: int
    request: int
    layer_first: int = 0
    layer_count: int = 0
    path: int = 0
    digest: int = 0


class Sent(NamedTuple):
    """A write has left this side's memory: its source may be reused."""

    immediate: int
    request: int
    length: int
    peer: str


class Received(NamedTuple):
    """A write has landed: all of its bytes are in the region.

    Times are time.monotonic() seconds; `posted_s` is the sender's, by the one clock that processes
    of a machine share.
    """

    immediate: int
    request: int
    layer_first: int
    layer_count: int
    path: int
    digest: int
    key: int
    offset: int
    length: int
    peer: str
    first_byte_s: float
    last_byte_s: float
    posted_s: float = 0.0


class Failed(NamedTuple):
    """A queue pair is broken; nothing more will complete on it."""

    peer: str
    reason: str


Completion = Sent | Received | Failed


class QueuePair(Protocol):
    """A connection between a local and a remote memory port."""

    peer: str

    def post(self, batch: Sequence[WriteRequest]) -> None:
        """Queue writes; returns at once.  Each completes as `Sent`, in order."""


class Transport(Protocol):
    """The queue pairs and the registered memory of one process."""

    def register(self, memory: memoryview) -> int:
        """Make writable memory a target of remote writes; returns its key."""

    def deregister(self, key: int) -> None:
        """Withdraw a region.  A write to it that arrives later breaks its queue pair."""

    def disconnect(self, peer: str) -> None:
        """Put a queue pair into the error state: nothing more lands by it or completes on it."""

    def on_completions(self, deliver: Callable[[list[Completion]], None]) -> None:
        """`deliver` is called with completions, in batches."""
