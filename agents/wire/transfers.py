"""Transfers, which engines think in, as the writes that carry them: pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import xxhash

from agents.wire.header import PATHS
from agents.wire.immediates import Kind, pack
from agents.wire.transport import FileRange, WriteRequest
from testbed.errors import ProgramError

Source: TypeAlias = memoryview | FileRange


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

    def writes(self, limit: int) -> list[WriteRequest]:
        """The writes that it is cut into, in order; the last one's immediate says so.

        Args:
            limit: longest write, in bytes.

        Raises:
            ProgramError: a digest is asked for of bytes that are not in memory.
        """
        # It may be empty (one token has no byte in a small layer) and has to arrive all the same.
        parts = cut(self.sources, limit) or [[]]
        found = []
        at = self.offset
        for position, sources in enumerate(parts):
            length = sum(source_bytes(source) for source in sources)
            last = position == len(parts) - 1
            found.append(
                WriteRequest(
                    sources=sources,
                    remote_key=self.key,
                    remote_offset=at,
                    length=length,
                    immediate=pack(self.number, self.kind, self.part, last=last),
                    request=self.number,
                    layer_first=self.layer_first,
                    layer_count=self.layer_count,
                    path=PATHS[self.path],
                    digest=_digest(sources) if self.digest else 0,
                )
            )
            at += length
        return found


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


def _digest(sources: Sequence[Source]) -> int:
    state = xxhash.xxh3_64()
    for source in sources:
        if isinstance(source, FileRange):
            raise ProgramError("a file range cannot carry a digest of its own")
        state.update(source)
    return state.intdigest()
