"""Puts: each block to the storage node that keeps it, behind the block before it."""

from __future__ import annotations

import asyncio
from typing import cast

import numpy as np

from agents.blocks.hashing import stream_hashes
from agents.control.messages import PutBegin, PutDone, PutReply
from agents.engines.node import Node
from agents.engines.persist import Persister
from tests.unit.agents.engines.bare_node import LAYOUT, BareNode

SIZE = LAYOUT.full_block_bytes
HASHES = stream_hashes(5, 12)


async def settled() -> None:
    """Everybody who can go on has."""
    for _ in range(5):
        await asyncio.sleep(0)


async def begin(
    node: BareNode, first: int, count: int
) -> tuple[asyncio.Task[int], list[tuple[str, PutBegin]]]:
    """A put, and what storage nodes are asked."""
    staged = await node.staging.allocate(count * SIZE)
    for block in range(count):
        staged.view[block * SIZE : (block + 1) * SIZE] = bytes([first + block]) * SIZE
    persister = Persister(cast(Node, node), 0)
    task = asyncio.ensure_future(persister.put(7, HASHES, first, count, staged))
    await settled()
    asked = [(peer, each) for peer, each in node.sent if isinstance(each, PutBegin)]
    return task, asked


def test_every_block_goes_behind_the_one_before_it_to_the_node_that_keeps_it() -> None:
    async def scene() -> None:
        node = BareNode(storage=("st0", "st1"))
        task, asked = await begin(node, 3, 7)
        covered = 3
        for peer, put in asked:
            names = np.frombuffer(put.hashes, "<u8")
            (run,) = node.cluster.placement().runs(HASHES, covered, len(names))
            assert (peer, run.first) == (run.node, covered)
            assert names.tolist() == HASHES[covered : covered + len(names)].tolist()
            assert put.parent == int(HASHES[covered - 1])
            covered += len(names)
        assert covered == 10
        assert {peer for peer, _ in asked} == {"st0", "st1"}  # or it would say little
        for at, (_, put) in enumerate(asked):  # each in two places, where there are two blocks
            blocks = len(put.hashes) // 8
            places = [(64 * at, 1), (9000 + at, blocks - 1)] if blocks > 1 else [(64 * at, 1)]
            node.replies.resolve("put-reply", put.put, PutReply(put.put, 11, places))
        await settled()
        sent = b"".join(bytes(source) for _, t in node.posted for source in t.sources)  # type: ignore[arg-type]
        assert sorted(sent[::SIZE]) == list(range(3, 10))
        assert not task.done()  # until storage has them in its index
        for _, put in asked:
            node.replies.resolve("put-done", put.put, PutDone(put.put))
        assert await task == 7 * SIZE
        assert node.staging.used_bytes == 0

    asyncio.run(scene())


def test_the_first_block_of_a_prefix_has_none_before_it() -> None:
    async def scene() -> None:
        node = BareNode()
        task, ((_, put),) = await begin(node, 0, 2)
        assert put.parent is None
        node.replies.resolve("put-reply", put.put, PutReply(put.put, 0, [], "no room"))
        assert await task == 0  # nothing has crossed the SNIC
        assert (node.posted, node.staging.used_bytes) == ([], 0)

    asyncio.run(scene())


def test_a_storage_node_that_is_lost_ends_the_put() -> None:
    async def scene(after_reply: bool) -> None:
        node = BareNode()
        task, ((_, put),) = await begin(node, 0, 2)
        if after_reply:
            node.replies.resolve("put-reply", put.put, PutReply(put.put, 1, [(0, 2)]))
            await settled()
        node.replies.lose("st0")
        assert await task == 0
        assert node.events == [("put-lost", 7)]
        assert node.staging.used_bytes == 0

    asyncio.run(scene(after_reply=False))
    asyncio.run(scene(after_reply=True))
