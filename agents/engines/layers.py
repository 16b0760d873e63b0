"""One request's KV on its way through a prefill engine's HBM, layer group by layer group.

Layerwise prefill (DualPath, section 4.1): HBM holds `slots` layer groups of a request.  While one
is computed the next ones arrive, and those that are done leave for the DE buffer.  A slot is used
again when its bytes have left.

A prompt that is computed in chunks needs the KV of everything before a chunk in every layer.  HBM
has kept none of it, so hit blocks are loaded again on their path, and what earlier chunks computed
comes back from the DE buffer, where it was returned to.  These bytes are counted as `reloaded`: the
formulae for NIC loads know nothing of them.  Without layerwise prefill a request has a slot for
every group until its last chunk is done, and nothing is loaded twice; transfers overlap with
compute all the same, so that HBM is the only difference.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from agents.blocks.arena import Extent
from agents.blocks.generate import Mismatch
from agents.blocks.layout import LayerGroup
from agents.blocks.maker import Prefilled
from agents.control.messages import Assign
from agents.engines.chunks import Chunk
from agents.engines.geometry import Geometry
from agents.engines.node import Node
from agents.engines.paths import EarlierChunks, LayerSource
from agents.incoming import WrongBytes
from agents.wire.immediates import Kind
from agents.wire.pair_names import pair_name
from agents.wire.transfers import Transfer
from agents.wire.transport import Sent


class Abandoned(Exception):
    """The other node has given the request up."""


class Passage:
    """A request at a prefill engine, from its HBM to the last byte that leaves it.

    Args:
        node: the prefill node.
        job, geometry: the request.
        sources: of its hit blocks; none if KV is not moved.
    """

    def __init__(
        self, node: Node, job: Assign, geometry: Geometry, sources: Sequence[LayerSource] = ()
    ) -> None:
        self._node, self.job, self.geometry = node, job, geometry
        self._sources = sources
        self._moves = node.cluster.moves_kv
        self._kv = node.maker.prefill(node.prompt(job))
        self._layerwise = node.cluster.layerwise
        self._slots = node.cluster.slots
        self._arena = node.hbm[job.prefill.rail]
        self._arena.must_hold(self._hbm_bytes)
        self._extent: Extent | None = None
        self._chunk: Chunk | None = None
        self._loaded_for: int | None = None
        self._free: asyncio.Queue[int] = asyncio.Queue()
        self._loading: asyncio.Queue[tuple[int, asyncio.Task[float]]] = asyncio.Queue()
        self._tasks: list[asyncio.Task[float]] = []
        self._ahead: asyncio.Task[None] | None = None
        self._used: dict[int, int] = {}  # group -> slot
        self._sent: asyncio.Future[Sent | None] | None = None
        self.abandoned: Abandoned | None = None
        self.start_s = self.end_s = 0.0
        self.stalls_s: list[float] = []
        self.verified_bytes = 0
        self.reloaded_bytes = 0
        self.groups_returned = 0
        self.chunk_groups_returned = 0

    @property
    def _hbm_bytes(self) -> int:
        return self._slots * self.geometry.slot_bytes

    @property
    def made(self) -> Prefilled:
        """What decode begins with, when the last chunk is computed."""
        return self._kv.result()

    # --- HBM -----------------------------------------------------------------------------

    def admit(self) -> bool:
        """Have HBM, now or already; False if there is no room."""
        if self._extent is None:
            self._hold(self._arena.try_allocate(self._hbm_bytes))
        return self._extent is not None

    async def admitted(self) -> None:
        """Have HBM, when it is this request's turn."""
        self._hold(await self._arena.allocate(self._hbm_bytes))

    def _hold(self, extent: Extent | None) -> None:
        self._extent = extent
        if extent is not None:
            for slot in range(self._slots):
                self._free.put_nowait(slot)

    def _memory(self, slot: int) -> memoryview:
        assert self._extent is not None
        size = self.geometry.slot_bytes
        return self._extent.view[slot * size : (slot + 1) * size]

    # --- layer groups -------------------------------------------------------------------

    def prefetch(self, first: int) -> None:
        """Load what tokens from miss block `first` on need, as far as there are slots."""
        if self._loaded_for != first:
            self._loaded_for = first
            rest = Chunk(self.geometry, first, self.geometry.miss_blocks)
            self._ahead = asyncio.get_running_loop().create_task(self._load_ahead(rest))

    def begin(self, chunk: Chunk) -> None:
        """An iteration begins that computes a chunk."""
        if self._chunk is None:
            self.start_s = asyncio.get_running_loop().time()
        self._chunk = chunk
        self.prefetch(chunk.first)

    async def arrived(self, group: LayerGroup, could_start_s: float) -> float:
        """Wait until attention may begin on a group: all it needs is in HBM, and right.

        Groups come in order.

        Args:
            could_start_s: since when the engine has nothing else to do.

        Returns:
            When the last of it was there, of the loop's clock.

        Raises:
            WrongBytes: a byte is not what it should be.
            Abandoned: the decode node has given the request up.
            NodeGone: it is lost.
        """
        slot, task = await self._loading.get()
        self._used[group.index] = slot
        ready_s = await task
        if self.abandoned is not None:
            raise self.abandoned
        self.stalls_s.append(max(0.0, ready_s - could_start_s))
        return ready_s

    def finish(self, group: LayerGroup) -> None:
        """A group is computed: its fresh KV is in HBM, and leaves for the DE buffer."""
        slot = self._used.pop(group.index)
        chunk = self._chunk
        assert chunk is not None
        if not self._moves:
            self._free.put_nowait(slot)
            return
        memory = self._memory(slot)
        self._compute(chunk, group, memory)
        self._sent = self._return(chunk, group, memory)
        self._sent.add_done_callback(lambda _: self._free.put_nowait(slot))

    async def close(self) -> None:
        """Give HBM back, when nothing writes into it or reads from it any more."""
        if self._ahead is not None:
            self._ahead.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._sent is not None:
            await self._sent  # writes of one queue pair complete in order: all have left
        if self._extent is not None:
            self._arena.free(self._extent)
            self._extent = None

    # --- loading -------------------------------------------------------------------------

    async def _load_ahead(self, chunk: Chunk) -> None:
        loop = asyncio.get_running_loop()
        for group in self.geometry.groups():
            # Whoever has a slot for each group finds it as the chunk before has left it.
            slot = await self._free.get() if self._layerwise else group.index
            task = loop.create_task(self._load(chunk, group, slot))
            self._tasks.append(task)
            self._loading.put_nowait((slot, task))

    async def _load(self, chunk: Chunk, group: LayerGroup, slot: int) -> float:
        resident = chunk.first and not self._layerwise
        if self._moves and not resident:
            sources = list(self._sources)
            if chunk.first:
                sources.append(EarlierChunks(self._node, self.job, chunk, self._landed(group)))
                self.reloaded_bytes += self.geometry.hit_in_slot(group).size
                self.reloaded_bytes += chunk.earlier_in_slot(group).size
            assert self._extent is not None
            offset = self._extent.offset + slot * self.geometry.slot_bytes
            # All of them, whatever becomes of one: until then they write into the slot.
            ended = await asyncio.gather(
                *(source.load(group, offset) for source in sources), return_exceptions=True
            )
            for result in ended:
                if isinstance(result, BaseException):
                    raise result
            self._check(chunk, group, self._memory(slot))
        return asyncio.get_running_loop().time()

    def _landed(self, group: LayerGroup) -> int:
        """Groups that the chunks before have returned, up to and with this one of the last."""
        groups = len(self.geometry.groups())
        return self.chunk_groups_returned - groups + group.index + 1

    # --- what happens in HBM --------------------------------------------------------------

    def _check(self, chunk: Chunk, group: LayerGroup, memory: memoryview) -> None:
        """Attention starts only on bytes that nothing is known against: all before the chunk."""
        hits = self.geometry.hit_blocks
        wrong = self._mismatch(group, range(hits), self.geometry.hit_in_slot(group).of(memory))
        if wrong is None:
            earlier = chunk.earlier_in_slot(group).of(memory)
            wrong = self._mismatch(group, range(hits, hits + chunk.first), earlier)
        if wrong is not None:
            detail = f"HBM of {self.job.prefill.domain}: {wrong}"
            self._node.event("wrong-bytes", self.job.request, detail)
            raise WrongBytes(detail)

    def _mismatch(self, group: LayerGroup, blocks: range, memory: memoryview) -> Mismatch | None:
        if not blocks:
            return None
        self.verified_bytes += memory.nbytes
        return self._kv.check(group, blocks, memory)

    def _compute(self, chunk: Chunk, group: LayerGroup, memory: memoryview) -> None:
        """Leave the KV of the chunk's tokens in HBM."""
        self._kv.compute(
            group,
            self.geometry.hit_in_slot(group).of(memory),
            self.geometry.miss_in_slot(group).of(memory),
            range(chunk.context_tokens, chunk.context_tokens + chunk.tokens),
        )

    def _return(
        self, chunk: Chunk, group: LayerGroup, memory: memoryview
    ) -> asyncio.Future[Sent | None]:
        """Send a group's KV to the DE buffer: all that is not there yet."""
        job = self.job
        pair = pair_name(job.prefill.domain, job.decode.node, f"cnic{job.decode.rail}", "caller")
        if chunk.is_last:
            self.groups_returned += 1
        else:
            self.chunk_groups_returned += 1
        return self._node.ports.post(
            pair,
            Transfer(
                Kind.KV_RETURN if chunk.is_last else Kind.CHUNK_RETURN,
                job.request,
                group.index,
                [chunk.returned_from_slot(group).of(memory)],
                job.target_key,
                job.target_offset + chunk.returned_to_buffer(group).offset,
                group.first,
                group.count,
                job.path,
                digest=True,
                blocks=self._blocks_returned(chunk) * group.count,
            ),
        )

    def _blocks_returned(self, chunk: Chunk) -> int:
        """Of each layer: what a chunk computes, and with the first what this node has read."""
        read = 0 if chunk.first else self.geometry.pe_blocks
        return read + chunk.end - chunk.first
