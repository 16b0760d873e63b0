"""A node without a network: what is sent and posted is kept, what is expected is answered."""

from __future__ import annotations

import asyncio
from collections import Counter
from types import SimpleNamespace

import numpy as np

from agents.blocks.arena import Arena
from agents.blocks.hashing import Hashes
from agents.blocks.layout import KVLayout
from agents.control.messages import Assign, Message
from agents.control.replies import Replies
from agents.incoming import Incoming
from agents.storage.placement import Placement
from agents.wire.transfers import Transfer
from agents.wire.transport import Sent

LAYOUT = KVLayout(layers=2, layer_block_bytes=64, block_tokens=64)


class BareNode:
    """As much of `agents.engines.node.Node` as its parts ask of it.  Made inside a running loop.

    Args:
        name: the node.
        storage: the storage nodes; extents have two blocks.
    """

    def __init__(self, name: str = "de0", storage: tuple[str, ...] = ("st0",)) -> None:
        self.name, self.layout = name, LAYOUT
        self.replies = Replies()
        self.staging = Arena(1 << 16, "staging")
        self.copied_bytes: Counter[str] = Counter()
        self.sent: list[tuple[str, Message]] = []
        self.posted: list[tuple[str, Transfer]] = []
        self.events: list[tuple[str, int]] = []
        self.cluster = SimpleNamespace(
            layout=LAYOUT,
            decode=["de0", "de1"],
            rails=1,
            cache_bytes=20 * LAYOUT.full_block_bytes,
            placement=lambda: Placement(storage, 2),
        )
        self.ports = SimpleNamespace(incoming=Incoming(), post=self._post)
        self.mesh = SimpleNamespace(send=self._send, closing=False)
        self.records: list[object] = []

    def _send(self, peer: str, message: Message) -> None:
        self.sent.append((peer, message))

    def _post(self, pair: str, transfer: Transfer) -> asyncio.Future[Sent | None]:
        """It has left at once."""
        self.posted.append((pair, transfer))
        future: asyncio.Future[Sent | None] = asyncio.get_running_loop().create_future()
        future.set_result(None)
        return future

    def event(self, kind: str, request: int, detail: str) -> None:
        self.events.append((kind, request))

    def hashes(self, job: Assign) -> Hashes:
        return np.frombuffer(job.hashes, "<u8")
