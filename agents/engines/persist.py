"""Writing Full Blocks back to storage: DRAM -> SNIC -> storage, then into its index."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from agents.blocks.arena import Extent
from agents.blocks.hashing import Hashes
from agents.control.messages import PutBegin, PutReply
from agents.engines.node import Node
from agents.loss import NodeGone
from agents.numbers import put_numbers
from agents.storage.placement import Run
from agents.wire.immediates import Kind
from agents.wire.pair_names import pair_name
from agents.wire.transfers import Transfer
from testbed.units import show_size


class Persister:
    """The puts of one node.

    Args:
        node: whose SNIC is used.
        index: number of the node; makes put numbers unique in the cluster.
    """

    def __init__(self, node: Node, index: int) -> None:
        self._node = node
        self._numbers = put_numbers(index)
        self._placement = node.cluster.placement()

    def lose(self, node: str) -> None:
        """A storage node is lost: others keep its blocks from now on."""
        self._placement = self._placement.without(node)

    async def put(
        self, request: int, hashes: Hashes, first: int, count: int, staged: Extent
    ) -> int:
        """Store the blocks that `staged` holds, each on its storage node, and free it.

        Args:
            request: for the records.
            hashes: of the request, from its first block on.
            first, count: which of them.
            staged: the Full Blocks, in the node's staging arena.

        Returns:
            Bytes that crossed the SNIC; less than all if a storage node had no room, which it
            records.
        """
        size = self._node.layout.full_block_bytes
        writes = []
        for run in self._placement.runs(hashes, first, count):
            at = (run.first - first) * size
            blocks = staged.view[at : at + run.blocks * size]
            writes.append(self._write(request, hashes, run, blocks))
        try:
            stored = await asyncio.gather(*writes)
        finally:
            self._node.staging.free(staged)
        return sum(await asyncio.gather(*(self._stored(request, put) for put in stored)))

    async def _write(
        self, request: int, hashes: Hashes, run: Run, blocks: memoryview
    ) -> tuple[int, Awaitable[object] | None]:
        """Write blocks of one storage node; the bytes that have left, and its last word."""
        node = self._node
        number = next(self._numbers)
        reply = node.replies.expect("put-reply", number, run.node)
        parent = int(hashes[run.first - 1]) if run.first else None
        names = hashes[run.first : run.first + run.blocks].astype("<u8").tobytes()
        node.mesh.send(run.node, PutBegin(number, request, names, parent))
        try:
            where = await reply
        except NodeGone as error:
            node.event("put-lost", request, f"{run.blocks} blocks: {error}")
            return 0, None
        assert isinstance(where, PutReply)
        if where.error:
            return 0, None  # storage has recorded why
        done = node.replies.expect("put-done", number, run.node)
        pair = pair_name(node.name, run.node, "snic0", "caller")
        at = 0
        posted = []
        for part, (offset, count) in enumerate(where.places):
            size = count * node.layout.full_block_bytes
            source = blocks[at : at + size]
            transfer = Transfer(
                Kind.STORAGE_WRITE, number, part, [source], where.key, offset, digest=True
            )
            posted.append(node.ports.post(pair, transfer))
            at += size
        await asyncio.gather(*posted)
        return at, done

    async def _stored(self, request: int, put: tuple[int, Awaitable[object] | None]) -> int:
        """Wait for a put's end, which storage has recorded if it is not a good one."""
        written_bytes, last_word = put
        if last_word is not None:
            try:
                await last_word
            except NodeGone as error:
                self._node.event("put-lost", request, f"{show_size(written_bytes)}: {error}")
                return 0
        return written_bytes
