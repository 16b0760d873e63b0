"""The prefill node: reads on its side, loads layer by layer, computes, returns KV to decode."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Sequence
from typing import NamedTuple

from agents.blocks.arena import Arena, ArenaTooSmall, Extent
from agents.blocks.layout import LayerGroup
from agents.blocks.maker import Prefilled, PrefillKV
from agents.cluster import Cluster
from agents.control import (
    Assign,
    Inboxes,
    Loaded,
    Message,
    PrefillDone,
    ReadFailed,
    RequestFailed,
)
from agents.engines.compute import ComputeClock, prefill_s
from agents.engines.geometry import Geometry
from agents.engines.node import Node, ReadError, ReadTimes
from agents.engines.paths import DecodeSide, LayerSource, PrefillSide
from agents.ports import Transfer, WrongBytes, pair_name
from agents.wire.immediates import Kind
from agents.wire.transport import Sent


class Abandoned(Exception):
    """The other node has given the request up."""


class Layers(NamedTuple):
    """What a layerwise prefill has to say for itself."""

    start_s: float
    end_s: float
    stalls_s: list[float]
    verified_bytes: int
    made: Prefilled


class PrefillNode(Node):
    """One prefill node and its engines."""

    def __init__(self, name: str, cluster: Cluster) -> None:
        super().__init__(name, cluster)
        self.pe_buffer = Arena(cluster.buffers.pe_buffer, f"{name} PE buffer")
        self.pe_buffer_key = self.ports.register(self.pe_buffer.memory)
        self._turns = [asyncio.Semaphore(cluster.engine_requests) for _ in range(cluster.rails)]
        self._clocks = [ComputeClock() for _ in range(cluster.rails)]

    def callees(self, rail: int) -> list[tuple[str, int]]:
        """The loopback, and every CNIC of every decode node."""
        remote = [
            (node, port) for node in self.cluster.decode for port in range(self.cluster.rails)
        ]
        return [*super().callees(rail), *remote]

    def pair_count(self) -> int:
        """As `Node`, and one queue pair for each pair of a prefill and a decode engine."""
        return super().pair_count() + len(self.cluster.decode) * self.cluster.rails**2

    def peaks(self) -> dict[str, int]:
        """Peak use of each arena, in bytes."""
        return {**super().peaks(), self.pe_buffer.name: self.pe_buffer.peak_bytes}

    def handle(self, sender: str, message: Message) -> None:
        """A control message has arrived."""
        match message:
            case Assign():
                self.taken(message, "pe")
                # Expected from now on, not from when the task begins: the answer may be right
                # behind the question.
                loaded = None
                if message.on("de"):
                    loaded = self.replies.expect("loaded", message.request)
                self.spawn(self._serve(message, loaded))
            case Loaded():
                self.answer("loaded", message.request, message)
            case Inboxes():
                self.met(sender, message.keys)
            case ReadFailed():
                self.read_failed(message)
            case RequestFailed():
                self.ports.fail(message.request, Abandoned(message.reason))
                self.replies.fail(message.request, Abandoned(message.reason))
            case _:
                raise TypeError(f"{self.name} cannot handle {message}")

    # --- one request -------------------------------------------------------------------

    async def _serve(self, job: Assign, loaded: Awaitable[object] | None) -> None:
        try:
            await self._prefill(job, loaded)
        except Abandoned:
            pass  # the decode node has said why
        except (ReadError, WrongBytes, ArenaTooSmall) as error:
            self.event("request-failed", job.request, str(error))
            self.mesh.send(job.decode.node, RequestFailed(job.request, str(error)))
        finally:
            self.ports.forget(job.request)
            self.account.end(job.request)

    async def _prefill(self, job: Assign, loading: Awaitable[object] | None) -> None:
        geometry = self.geometry(job)
        buffer: Extent | None = None
        reads: list[Awaitable[object]] = []
        sources: list[LayerSource] = []
        try:
            if loading is not None:
                reads.append(loading)
                sources.append(DecodeSide(self, job))
            if geometry.pe_blocks:
                buffer = await self.pe_buffer.allocate(geometry.pe_bytes)
                reads.append(self.read_blocks(job, "pe", self.pe_buffer_key, buffer))
                device = self.cluster.local_device(job.prefill.rail)
                loopback = pair_name(job.prefill.domain, self.name, device, "called")
                sources.append(PrefillSide(self, job, geometry, buffer, loopback))
            times = _span(await asyncio.gather(*reads, return_exceptions=True))
            async with self._turns[job.prefill.rail]:
                layers = await self._layerwise(job, geometry, sources)
        finally:
            if buffer is not None:
                self.pe_buffer.free(buffer)
        self.mesh.send(
            job.decode.node,
            PrefillDone(
                job.request,
                times.start_s,
                times.end_s,
                layers.start_s,
                layers.end_s,
                layers.stalls_s,
                layers.verified_bytes,
                geometry.pe_bytes,
                layers.made,
            ),
        )

    async def _layerwise(
        self, job: Assign, geometry: Geometry, sources: Sequence[LayerSource]
    ) -> Layers:
        """Layerwise prefill (DualPath section 4.1): HBM holds `slots` layer groups at a time."""
        hbm = self.hbm[job.prefill.rail]
        groups = geometry.groups()
        slots = min(self.cluster.slots, len(groups))
        extent = await hbm.allocate(slots * geometry.slot_bytes)
        free: asyncio.Queue[int] = asyncio.Queue()
        for slot in range(slots):
            free.put_nowait(slot)
        loading: asyncio.Queue[tuple[int, asyncio.Future[list[None]]]] = asyncio.Queue()
        tasks: set[asyncio.Future[list[None]]] = set()

        async def load_ahead() -> None:
            for group in groups:
                slot = await free.get()
                offset = extent.offset + slot * geometry.slot_bytes
                task = asyncio.gather(*(source.load(group, offset) for source in sources))
                tasks.add(task)
                loading.put_nowait((slot, task))

        start_s = ready_s = time.monotonic()
        ahead = asyncio.get_running_loop().create_task(load_ahead())
        stalls_s: list[float] = []
        verified = 0
        kv = self.maker.prefill(self.prompt(job))
        sent: asyncio.Future[Sent] | None = None
        try:
            for group in groups:
                slot, task = await loading.get()
                await task
                tasks.discard(task)
                stalls_s.append(max(0.0, time.monotonic() - ready_s))
                memory = extent.view[slot * geometry.slot_bytes :][: geometry.slot_bytes]
                verified += self._check_hits(job, geometry, kv, group, memory)
                await self._compute(job, geometry, kv, group, memory)
                ready_s = time.monotonic()
                sent = self._return(job, geometry, group, memory)
                sent.add_done_callback(functools.partial(_give_back, free, slot))
            if sent is not None:
                await sent  # writes of one queue pair complete in order: all have left HBM
        finally:
            ahead.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)  # they still write into it
            hbm.free(extent)
        return Layers(start_s, ready_s, stalls_s, verified, kv.result())

    def _check_hits(
        self,
        job: Assign,
        geometry: Geometry,
        kv: PrefillKV,
        group: LayerGroup,
        memory: memoryview,
    ) -> int:
        """Attention starts only on bytes that nothing is known against: all of the group's hits."""
        if geometry.hit_blocks == 0:
            return 0
        part = geometry.hit_in_slot(group).of(memory)
        wrong = kv.check(group, range(geometry.hit_blocks), part)
        if wrong is not None:
            self.event("wrong-bytes", job.request, f"HBM of {job.prefill.domain}: {wrong}")
            raise WrongBytes(f"HBM of {job.prefill.domain}: {wrong}")
        return part.nbytes

    async def _compute(
        self,
        job: Assign,
        geometry: Geometry,
        kv: PrefillKV,
        group: LayerGroup,
        memory: memoryview,
    ) -> None:
        """Compute the layers of a group: takes its time, and leaves the miss tokens' KV in HBM."""
        if self.cluster.engines == "modelled":
            whole_s = prefill_s(self.cluster.compute, geometry.hit_tokens, geometry.miss_tokens)
            clock = self._clocks[job.prefill.rail]
            await clock.run(whole_s * group.count / self.layout.layers)
            if self.collectives is not None:
                await self.collectives.layers(job.prefill.rail, geometry.miss_tokens, group.count)
        hits, misses = geometry.hit_in_slot(group), geometry.miss_in_slot(group)
        kv.compute(group, hits.of(memory), misses.of(memory))

    def _return(
        self, job: Assign, geometry: Geometry, group: LayerGroup, memory: memoryview
    ) -> asyncio.Future[Sent]:
        """Send a group's KV to the DE buffer: all that has not come from there."""
        device = f"cnic{job.decode.rail}"
        pair = pair_name(job.prefill.domain, job.decode.node, device, "caller")
        target = geometry.returned_to_buffer(group)
        transfer = Transfer(
            Kind.KV_RETURN,
            job.request,
            group.index,
            [geometry.returned_from_slot(group).of(memory)],
            job.target_key,
            job.target_offset + target.offset,
            group.first,
            group.count,
            job.path,
            digest=True,
            blocks=(geometry.prompt_blocks - geometry.de_blocks) * group.count,
        )
        return self.ports.post(pair, transfer)


def _span(reads: Sequence[object]) -> ReadTimes:
    """From the start of the first read to the end of the last; zeros if there was none.

    What a read failed of is raised when all have ended: until then they write into the buffer.
    """
    starts, ends = [], []
    for read in reads:
        if isinstance(read, BaseException):
            raise read
        if isinstance(read, Loaded):
            starts.append(read.t_read_start)
            ends.append(read.t_read_end)
        else:
            assert isinstance(read, ReadTimes)
            starts.append(read.start_s)
            ends.append(read.end_s)
    return ReadTimes(min(starts, default=0.0), max(ends, default=0.0))


def _give_back(free: asyncio.Queue[int], slot: int, _sent: asyncio.Future[Sent]) -> None:
    free.put_nowait(slot)
