"""Reads from storage: what is asked for, where it lands, and when storage may let go of it."""

from __future__ import annotations

import asyncio
from typing import cast

import numpy as np

from agents.blocks.arena import Arena, Extent
from agents.blocks.hashing import stream_hashes
from agents.control.messages import Assign, Engine, Read, ReadDone
from agents.engines.node import Node
from agents.read_path import Segment
from agents.wire.immediates import Kind
from agents.wire.transport import Received
from tests.unit.agents.engines.bare_node import LAYOUT, BareNode

SIZE = LAYOUT.full_block_bytes
HASHES = stream_hashes(5, 6)
SEGMENTS = [
    Segment("de", "st0", 0, 1), Segment("pe", "st0", 1, 2), Segment("pe", "st1", 3, 3),
]  # fmt: skip
ENDS = Engine("pe0", 0), Engine("de0", 0)
JOB = Assign(7, SEGMENTS, 400, 1, HASHES.tobytes(), *ENDS, 0.0, 0.0)
RECEIVED = Received(0, 0, 0, 0, 0, 0, 0, 0, 0, "", 0.0, 0.0)


class Reader(BareNode):
    """A prefill node that only reads."""

    staging_key = 11
    _read_done = Node._read_done  # type: ignore[assignment]

    def ask(self, extent: Extent, table: Extent) -> list[asyncio.Future[Received]]:
        return Node._ask_storage(cast(Node, self), JOB, "pe", 9, extent, table)


def extents() -> tuple[Extent, Extent]:
    """Of a PE buffer, and of the staging arena; neither at its start."""
    found = []
    for size in (5 * SIZE, 40):
        arena = Arena(1 << 16, "arena")
        arena.try_allocate(64)
        extent = arena.try_allocate(size)
        assert extent is not None
        found.append(extent)
    return found[0], found[1]


def test_segments_land_behind_each_other_and_their_digests_too() -> None:
    async def scene() -> None:
        node = Reader("pe0")
        buffer, table = extents()
        assert len(node.ask(buffer, table)) == 4
        assert [peer for peer, _ in node.sent] == ["st0", "st1"]
        first, second = (message for _, message in node.sent)
        assert isinstance(first, Read) and isinstance(second, Read)
        assert (first.part, first.key, first.offset) == (0, 9, buffer.offset)
        assert (second.part, second.key, second.offset) == (1, 9, buffer.offset + 2 * SIZE)
        assert (first.digest_key, first.digest_offset) == (11, table.offset)
        assert (second.digest_key, second.digest_offset) == (11, table.offset + 2 * 8)
        names = [np.frombuffer(each.hashes, "<u8").tolist() for each in (first, second)]
        assert names == [HASHES[1:3].tolist(), HASHES[3:6].tolist()]

    asyncio.run(scene())


def test_storage_hears_that_its_blocks_have_landed_and_nothing_of_those_that_have_not() -> None:
    async def scene() -> None:
        node = Reader("pe0")
        arrivals = node.ask(*extents())
        node.sent.clear()
        incoming = node.ports.incoming
        assert incoming.arrived((7, Kind.DIGESTS, 0), RECEIVED, "")
        await asyncio.sleep(0)
        assert node.sent == []
        assert incoming.arrived((7, Kind.STORAGE_READ, 0), RECEIVED, "")
        for kind in (Kind.STORAGE_READ, Kind.DIGESTS):
            incoming.fail(7, kind, 1, RuntimeError("not stored"))
        await asyncio.sleep(0)
        assert node.sent == [("st0", ReadDone(7, 0))]
        ended = await asyncio.gather(*arrivals, return_exceptions=True)
        assert [isinstance(each, RuntimeError) for each in ended] == [False, False, True, True]

    asyncio.run(scene())
