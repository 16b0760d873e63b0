"""Writing Full Blocks back to storage: DRAM -> SNIC -> storage, then into its index."""

from __future__ import annotations

import itertools

from agents.blocks.arena import Extent
from agents.control import PutBegin, PutDone, PutReply
from agents.engines.node import Node
from agents.ports import Transfer, pair_name
from agents.wire.immediates import Kind

_PUTS_PER_NODE = 1 << 24


class Persister:
    """The puts of one node.

    Args:
        node: whose SNIC is used.
        index: number of the node; makes put numbers unique in the cluster.
    """

    def __init__(self, node: Node, index: int) -> None:
        self._node = node
        self._numbers = itertools.count(index * _PUTS_PER_NODE)

    async def put(self, request: int, storage: str, hashes: bytes, staged: Extent) -> int:
        """Store the blocks that `staged` holds, and free it.

        Args:
            request: for the records.
            storage: the storage node.
            hashes: little-endian uint64, one for each block.
            staged: the Full Blocks, in the node's staging arena.

        Returns:
            Bytes that crossed the SNIC; 0 if storage had no room, which is recorded as an event.
        """
        node = self._node
        number = next(self._numbers)
        size = len(hashes) // 8 * node.layout.full_block_bytes
        try:
            reply = node.replies.expect("put-reply", number)
            node.mesh.send(storage, PutBegin(number, request, hashes))
            where = await reply
            assert isinstance(where, PutReply)
            if where.error:
                node.event("storage-refused", request, where.error)
                return 0
            done = node.replies.expect("put-done", number)
            pair = pair_name(node.name, storage, "snic0", "caller")
            await node.ports.post(
                pair,
                Transfer(
                    Kind.STORAGE_WRITE,
                    number,
                    0,
                    [staged.view[:size]],
                    where.key,
                    where.offset,
                    digest=True,
                ),
            )
        finally:
            node.staging.free(staged)
        stored = await done
        assert isinstance(stored, PutDone)
        if stored.error:
            node.event("storage-refused", request, stored.error)
        return size
