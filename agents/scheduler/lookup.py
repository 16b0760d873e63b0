"""How much of a prompt is stored, and where: asks every storage node that keeps a part of it.

Each node says how many of *its* blocks are stored from the first on.  The hit ends where the first
block is missing, whichever node that is; all nodes are asked at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import numpy as np

from agents.blocks.hashing import Hashes
from agents.control.messages import Lookup, LookupReply
from agents.loss import NodeGone
from agents.process import Process
from agents.storage.placement import Placement, Run


def hit_runs(runs: Sequence[Run], stored: Mapping[str, int]) -> list[Run]:
    """The leading part of a prefix that is stored.

    Args:
        runs: who keeps its blocks, in order.
        stored: storage node -> how many of its blocks in `runs` are stored, from its first on.
    """
    left = dict(stored)
    hits: list[Run] = []
    for run in runs:
        count = min(run.blocks, left[run.node])
        left[run.node] -= count
        if count:
            hits.append(run._replace(blocks=count))
        if count < run.blocks:
            break
    return hits


class StorageLookup:
    """Lookups of the scheduler.

    Args:
        process: the scheduler.
        placement: where blocks are kept.
    """

    def __init__(self, process: Process, placement: Placement) -> None:
        self._process = process
        self._placement = placement

    def lose(self, node: str) -> None:
        """A storage node is lost: others keep its blocks from now on."""
        self._placement = self._placement.without(node)

    async def hits(self, request: int, hashes: Hashes) -> list[Run]:
        """The stored blocks of a prompt, back to back from block 0.

        Args:
            request: its number; one lookup at a time for each.
            hashes: of the blocks that may be read instead of computed.
        """
        runs = self._placement.runs(hashes)
        asked: dict[str, list[Hashes]] = {}
        for run in runs:
            asked.setdefault(run.node, []).append(hashes[run.first : run.first + run.blocks])
        answers = [self._ask(node, request, np.concatenate(own)) for node, own in asked.items()]
        stored = await asyncio.gather(*answers)
        return hit_runs(runs, dict(zip(asked, stored, strict=True)))

    async def _ask(self, node: str, request: int, hashes: Hashes) -> int:
        answer = self._process.replies.expect(_kind(node), request, node)
        self._process.mesh.send(node, Lookup(request, hashes.astype("<u8").tobytes()))
        try:
            reply = await answer
        except NodeGone:
            return 0  # what it had is computed again
        assert isinstance(reply, LookupReply)
        return reply.blocks

    def answered(self, node: str, reply: LookupReply) -> None:
        """A storage node has answered."""
        self._process.answer(_kind(node), reply.request, reply)


def _kind(node: str) -> str:
    return f"lookup at {node}"
