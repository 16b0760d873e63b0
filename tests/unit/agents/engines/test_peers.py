"""Hits from caches: where they land in the DE buffer, and what is read from storage instead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import cast

import numpy as np

from agents.blocks.arena import Arena, Extent
from agents.blocks.hashing import stream_hashes
from agents.cluster import Cluster
from agents.control.messages import Assign, Cached, Engine, PeerRead, PeerReadFailed
from agents.engines.geometry import Geometry
from agents.engines.node import Node, ReadTimes
from agents.engines.peers import Peers
from agents.read_path import Segment, Side
from agents.wire.immediates import Kind
from agents.wire.transport import Received
from tests.unit.agents.engines.bare_node import LAYOUT, BareNode

SIZE = LAYOUT.full_block_bytes
HASHES = stream_hashes(5, 6)
KEY = 9
RECEIVED = Received(0, 0, 0, 0, 0, 0, 0, 0, 0, "", 0.0, 0.0)


class Reader(BareNode):
    """A bare node whose reads from storage are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[tuple[list[Segment], int, int, int]] = []
        self.meters = SimpleNamespace(at_work=self._at_work, carried=lambda way, size: None)
        self.tell_rates = lambda: None

    @asynccontextmanager
    async def _at_work(self, way: str, rail: int) -> AsyncIterator[None]:
        yield

    async def read_blocks(self, job: Assign, side: Side, key: int, extent: Extent) -> ReadTimes:
        segments = job.on(side)
        room = (extent.offset, extent.size, extent.view.nbytes)
        self.read.append((segments, *room))
        return ReadTimes(0.0, 0.0)


def peers_of(node: Reader) -> Peers:
    return Peers(cast(Node, node), cast(Cluster, node.cluster))


def job_of(*segments: Segment) -> Assign:
    hits = sum(segment.count for segment in segments)
    ends = Engine("pe0", 0), Engine("de0", 0)
    return Assign(7, list(segments), hits * 64 + 1, 1, HASHES.tobytes(), *ends, 0.0, 0.0)


def buffer_of(blocks: int) -> Extent:
    """Not at the start of its arena."""
    arena = Arena(1 << 16, "DE buffer")
    arena.try_allocate(64)
    extent = arena.try_allocate(blocks * SIZE)
    assert extent is not None
    return extent


def prompt(blocks: int) -> Extent:
    """Full Blocks, as they lie in a DE buffer that was read into."""
    extent = buffer_of(blocks)
    for block in range(blocks):
        extent.view[block * SIZE : (block + 1) * SIZE] = bytes([block + 1]) * SIZE
    return extent


def keep(peers: Peers, blocks: int) -> None:
    """Have the first blocks in the cache."""
    job = job_of(Segment("de", "st0", 0, blocks))
    geometry = Geometry(LAYOUT, 1, blocks * 64, 1, blocks, 0)
    peers.keep_prompt(job, geometry, prompt(blocks))


def test_what_the_own_cache_has_is_copied_and_the_rest_is_read_behind_it() -> None:
    async def scene() -> None:
        node = Reader()
        peers = peers_of(node)
        keep(peers, 2)
        job = job_of(Segment("peer", "de0", 0, 2), Segment("de", "st0", 2, 3))
        buffer = buffer_of(5)
        await peers.read(job, KEY, buffer)
        assert bytes(buffer.view[: 2 * SIZE]) == b"\1" * SIZE + b"\2" * SIZE
        assert node.read == [
            ([Segment("de", "st0", 2, 3)], buffer.offset + 2 * SIZE, 3 * SIZE, 3 * SIZE)
        ]
        assert (node.copied_bytes["from cache"], node.events) == (2 * SIZE, [])

    asyncio.run(scene())


def test_what_has_gone_from_a_cache_is_read_from_storage_into_its_place() -> None:
    async def scene() -> None:
        node = Reader()
        peers = peers_of(node)
        job = job_of(Segment("peer", "de0", 0, 2), Segment("peer", "de1", 2, 1))
        buffer = buffer_of(3)
        reading = asyncio.ensure_future(peers.read(job, KEY, buffer))
        for _ in range(5):
            await asyncio.sleep(0)
        ((peer, asked),) = node.sent
        assert (peer, asked) == (
            "de1",
            PeerRead(7, 1, HASHES[2:3].tobytes(), KEY, buffer.offset + 2 * SIZE, 0),
        )
        peers.failed(PeerReadFailed(7, 1, "evicted"))
        await reading
        assert node.read == [
            ([Segment("de", "st0", 0, 2)], buffer.offset, 2 * SIZE, 3 * SIZE),
            ([Segment("de", "st0", 2, 1)], buffer.offset + 2 * SIZE, SIZE, SIZE),
        ]
        assert node.events == [("cache-missed", 7)] * 2

    asyncio.run(scene())


def test_another_nodes_blocks_are_there_when_their_last_write_has_landed() -> None:
    async def scene() -> None:
        node = Reader()
        peers = peers_of(node)
        reading = asyncio.ensure_future(
            peers.read(job_of(Segment("peer", "de1", 0, 2)), KEY, buffer_of(2))
        )
        for _ in range(5):
            await asyncio.sleep(0)
        assert not reading.done()
        assert node.ports.incoming.arrived((7, Kind.PEER_READ, 0), RECEIVED, "")
        await reading
        assert (node.read, node.events) == ([], [])

    asyncio.run(scene())


def test_blocks_are_held_while_another_node_reads_them() -> None:
    async def scene() -> None:
        node = Reader()
        peers = peers_of(node)
        keep(peers, 2)
        assert peers.cache is not None
        leaving: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        node.ports.post = lambda pair, transfer: (node.posted.append((pair, transfer)), leaving)[1]
        peers.serve("de1", PeerRead(8, 3, HASHES[:2].tobytes(), KEY, 640, 0))
        ((_, transfer),) = node.posted
        assert (transfer.kind, transfer.part, transfer.offset) == (Kind.PEER_READ, 3, 640)
        assert b"".join(map(bytes, transfer.sources)) == b"\1" * SIZE + b"\2" * SIZE  # type: ignore[arg-type]
        assert peers.cache.evict(2) == 0
        leaving.set_result(None)
        await asyncio.sleep(0)
        assert peers.cache.evict(2) == 2
        peers.serve("de1", PeerRead(9, 0, HASHES[:2].tobytes(), KEY, 0, 0))
        assert isinstance(node.sent[-1][1], PeerReadFailed)

    asyncio.run(scene())


def test_the_scheduler_hears_once_of_all_that_came_in_a_turn_of_the_loop() -> None:
    async def scene() -> None:
        node = Reader()
        peers = peers_of(node)
        keep(peers, 2)
        keep(peers, 3)
        await asyncio.sleep(0)
        ((peer, told),) = node.sent
        assert peer == "sched"
        assert isinstance(told, Cached)
        assert sorted(np.frombuffer(told.added, "<u8").tolist()) == sorted(HASHES[:3].tolist())
        assert told.dropped == b""

    asyncio.run(scene())
