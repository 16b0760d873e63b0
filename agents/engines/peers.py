"""KV from the cache of a decode node: its own in DRAM, another's over the compute fabric.

    own     cache --copy--> DE buffer
    other   cache --CNIC--> compute fabric --CNIC--> DE buffer        (DRAM to DRAM, Full Blocks)

From there on it is the `de` path.  What a cache has is told to the scheduler, which names the node
in a segment.  A block that has been evicted in between is read from storage instead.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import time

import msgspec
import numpy as np

from agents.blocks.arena import Extent
from agents.blocks.maker import Part
from agents.cluster import SCHEDULER, Cluster
from agents.connections import call
from agents.control.messages import Assign, Cached, PeerRead, PeerReadFailed
from agents.engines.cache import HeldBlocks, NotCached, PrefixCache
from agents.engines.geometry import Geometry
from agents.engines.node import Node, ReadTimes
from agents.loss import NodeGone
from agents.read_path import Segment
from agents.records import CacheRecord, TransferRecord
from agents.wire.immediates import Kind
from agents.wire.pair_names import pair_name
from agents.wire.transfers import Transfer
from agents.wire.transport import Sent


class Peers:
    """The cache of one decode node, and its reads from those of others.

    Args:
        node: the node.
        cluster: the run; without `cache_bytes` nothing is kept.
    """

    def __init__(self, node: Node, cluster: Cluster) -> None:
        self._node = node
        self._cluster = cluster
        self._placement = cluster.placement()
        self.cache: PrefixCache | None = None
        if cluster.cache_bytes >= cluster.layout.full_block_bytes:
            self.cache = PrefixCache(cluster.cache_bytes, cluster.layout, f"{node.name} cache")
        self._telling = False
        self._missed = 0

    # --- connections -------------------------------------------------------------------

    @property
    def _others(self) -> list[str]:
        return [name for name in self._cluster.decode if name != self._node.name]

    def pair_count(self) -> int:
        """Queue pairs with the other decode nodes: one through each pair of like CNICs."""
        return len(self._others) * self._cluster.rails if self.cache is not None else 0

    def connect(self) -> None:
        """Call the decode nodes that come later; the others call."""
        if self.cache is None:
            return
        own, name = self._cluster.addresses, self._node.name
        decode = self._cluster.decode
        for other in decode[decode.index(name) + 1 :]:
            for rail in range(self._cluster.rails):
                local = socket.socket()
                local.bind((own[name][f"cnic{rail}"], 0))
                device = f"cnic{rail}"
                call(self._node.ports, local, own[other][device], name, other, device)

    def _pair(self, other: str, rail: int) -> str:
        name, decode = self._node.name, self._cluster.decode
        if decode.index(name) < decode.index(other):
            return pair_name(name, other, f"cnic{rail}", "caller")
        return pair_name(other, name, f"cnic{rail}", "called")

    # --- what is kept ------------------------------------------------------------------

    def keep_prompt(self, job: Assign, geometry: Geometry, buffer: Extent) -> None:
        """The whole prompt is in the DE buffer: keep its full blocks."""
        if self.cache is not None:
            parts = geometry.prompt_parts(buffer.view)
            self._keep(job, 0, geometry.prompt_full_blocks, parts)

    def keep_generated(self, job: Assign, number: int, staged: Extent) -> None:
        """A generated block is in DRAM on its way to storage: keep it.

        Args:
            number: of the block in the request.
            staged: the block.
        """
        if self.cache is not None:
            layout = self._cluster.layout
            memory = staged.view[: layout.full_block_bytes]
            part = Part(number, 1, 0, layout.layers, layout.block_tokens, memory)
            self._keep(job, number, 1, [part])

    def _keep(self, job: Assign, first: int, count: int, parts: list[Part]) -> None:
        assert self.cache is not None
        copied = self.cache.keep(self._node.hashes(job), first, count, parts)
        self._node.copied_bytes["cached"] += copied
        self._tell_soon()

    def _tell_soon(self) -> None:
        """Tell the scheduler what has changed, once in a turn of the loop."""
        if not self._telling:
            self._telling = True
            asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        self._telling = False
        assert self.cache is not None
        added, dropped = self.cache.take_news()
        if (added or dropped) and not self._node.mesh.closing:
            self._node.mesh.send(
                SCHEDULER, Cached(self._node.name, _packed(added), _packed(dropped))
            )

    def tell_all(self) -> None:
        """Tell a scheduler that knows nothing."""
        if self.cache is not None:
            self.cache.take_news()
            everything = _packed(self.cache.blocks())
            self._node.mesh.send(SCHEDULER, Cached(self._node.name, everything, b""))

    def record(self) -> None:
        """Record what the cache came to."""
        cache = self.cache
        if cache is not None:
            self._node.records.append(
                CacheRecord(
                    self._node.name,
                    cache.capacity_bytes,
                    cache.held_bytes,
                    cache.kept_bytes,
                    cache.evicted_bytes,
                    self._missed,
                )
            )

    def lose(self, node: str) -> None:
        """A storage node is lost: others keep its blocks from now on."""
        self._placement = self._placement.without(node)

    # --- reading -----------------------------------------------------------------------

    async def read(self, job: Assign, key: int, buffer: Extent) -> ReadTimes:
        """Have all hit blocks of the decode side in the DE buffer, from caches and from storage.

        Args:
            key: region of the DE buffers.
            buffer: of the request.

        Raises:
            ReadError, NodeGone, WrongBytes: as `Node.read_blocks`.
        """
        node = self._node
        peers = job.on("peer")
        if not peers:
            return await node.read_blocks(job, "de", key, buffer)
        start_s = time.monotonic()
        size = self._cluster.layout.full_block_bytes
        count = sum(segment.count for segment in peers)
        reads = [self._from_cache(job, index, segment, key, buffer)
                 for index, segment in enumerate(peers)]  # fmt: skip
        rest = Extent(
            buffer.offset + count * size, buffer.size - count * size, buffer.view[count * size :]
        )
        stored = [node.read_blocks(job, "de", key, rest)] if job.blocks("de") else []
        ended = await asyncio.gather(*reads, *stored, return_exceptions=True)
        missed = []
        for result, segment in zip(ended, [*peers, None], strict=False):
            if isinstance(result, NotCached | NodeGone) and segment is not None:
                missed.append(segment)
            elif isinstance(result, BaseException):
                raise result
        for segment in missed:
            await self._again(job, segment, key, buffer)
        return ReadTimes(start_s, time.monotonic())

    async def _again(self, job: Assign, segment: Segment, key: int, buffer: Extent) -> None:
        """Read from storage what a cache has no longer."""
        self._missed += 1
        size = self._cluster.layout.full_block_bytes
        runs = self._placement.runs(self._node.hashes(job), segment.first, segment.count)
        stored = [Segment("de", *run) for run in runs]
        at = segment.first * size
        part = Extent(buffer.offset + at, segment.count * size, buffer.view[at:])
        self._node.event(
            "cache-missed", job.request, f"{segment.count} blocks of {segment.node}: read again"
        )
        await self._node.read_blocks(msgspec.structs.replace(job, segments=stored), "de", key, part)

    async def _from_cache(
        self, job: Assign, index: int, segment: Segment, key: int, buffer: Extent
    ) -> None:
        """One segment, from this node's cache or another's; NotCached, NodeGone if it has gone."""
        node, size = self._node, self._cluster.layout.full_block_bytes
        names = job.hashes[8 * segment.first : 8 * (segment.first + segment.count)]
        at = segment.first * size
        if segment.node == node.name:
            self._copy(job, names, buffer.view[at : at + segment.count * size])
            return
        arrived = node.ports.incoming.expect(job.request, Kind.PEER_READ, index, segment.node)
        async with node.meters.at_work("peer", job.decode.rail):
            node.mesh.send(
                segment.node,
                PeerRead(job.request, index, names, key, buffer.offset + at, job.decode.rail),
            )
            await arrived
        node.meters.carried("peer", segment.count * size)
        node.tell_rates()

    def _copy(self, job: Assign, names: bytes, into: memoryview) -> None:
        if self.cache is None:
            raise NotCached("there is no cache")
        began_s = time.monotonic()
        held = self.cache.hold(np.frombuffer(names, "<u8"))
        at = 0
        for view in held.views:
            into[at : at + view.nbytes] = view
            at += view.nbytes
        self.cache.let_go(held)
        node = self._node
        node.copied_bytes["from cache"] += at
        node.records.append(
            TransferRecord(
                job.request, "peer_copy", "peer", node.name, node.name, 0, 0, at, began_s,
                time.monotonic(), t_posted=began_s,
            )
        )  # fmt: skip

    def failed(self, message: PeerReadFailed) -> None:
        """Another node's cache has not what it was asked for; it has written nothing."""
        error = NotCached(message.reason)
        self._node.ports.incoming.fail(message.request, Kind.PEER_READ, message.part, error)

    def serve(self, sender: str, message: PeerRead) -> None:
        """Another decode node wants blocks of this cache."""
        node = self._node
        try:
            if self.cache is None:
                raise NotCached("there is no cache")
            held = self.cache.hold(np.frombuffer(message.hashes, "<u8"))
        except NotCached as error:
            node.mesh.send(sender, PeerReadFailed(message.request, message.part, str(error)))
            return
        sent = node.ports.post(
            self._pair(sender, message.rail),
            Transfer(
                Kind.PEER_READ,
                message.request,
                message.part,
                held.views,
                message.key,
                message.offset,
                path="peer",
                digest=True,
            ),
        )
        sent.add_done_callback(functools.partial(self._sent, held))

    def _sent(self, held: HeldBlocks, _sent: asyncio.Future[Sent | None]) -> None:
        assert self.cache is not None
        self.cache.let_go(held)


def _packed(blocks: list[int]) -> bytes:
    return np.array(blocks, "<u8").tobytes()
