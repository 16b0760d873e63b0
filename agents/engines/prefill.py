"""The prefill node: reads on its side, loads layer by layer, computes, returns KV to decode."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence

from agents.blocks.arena import Arena, ArenaTooSmall, Extent
from agents.cluster import Cluster
from agents.control.messages import (
    Assign,
    Inboxes,
    Loaded,
    Message,
    PrefillDone,
    ReadFailed,
    RequestFailed,
    Retry,
)
from agents.engines.chunks import whole
from agents.engines.geometry import Geometry
from agents.engines.group import PrefillGroup
from agents.engines.layers import Abandoned, Passage
from agents.engines.node import Node, ReadError, ReadTimes
from agents.engines.paths import DecodeSide, LayerSource, PrefillSide
from agents.incoming import WrongBytes
from agents.loss import NodeGone
from agents.wire.immediates import Kind
from agents.wire.pair_names import pair_name


class Prefilling:
    """A request at this node, from its assignment to its end.

    Args:
        job: the request.
        loaded: the decode node's word that its part of the hits can be asked for, if it has one.
    """

    def __init__(self, job: Assign, loaded: Awaitable[object] | None) -> None:
        self.job, self.loaded = job, loaded
        self.passage: Passage | None = None
        self.abandoned: Abandoned | None = None

    def check(self) -> None:
        """Go on, unless the decode node has given the request up.

        Raises:
            Abandoned: it has.
        """
        if self.abandoned is not None:
            raise self.abandoned

    def abandon(self, error: Abandoned) -> None:
        """The decode node has given the request up."""
        self.abandoned = error
        if self.passage is not None:
            self.passage.abandoned = error


class PrefillNode(Node):
    """One prefill node and its engines."""

    def __init__(self, name: str, cluster: Cluster) -> None:
        super().__init__(name, cluster)
        self.pe_buffer = Arena(cluster.buffers.pe_buffer, f"{name} PE buffer")
        self.pe_buffer_key = self.ports.register(self.pe_buffer.memory)
        self._turns = [asyncio.Semaphore(cluster.engine_requests) for _ in range(cluster.rails)]
        self.group = PrefillGroup(name, cluster, self.execution, self.records.append, self.spawn)
        self._prefilling: dict[int, Prefilling] = {}

    async def connect(self) -> None:
        """As `Node`; then the engines begin to iterate."""
        await super().connect()
        if self.cluster.engines == "modelled":
            self.spawn(self.group.run())

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
                if message.decode_blocks and self.cluster.moves_kv:
                    loaded = self.replies.expect("loaded", message.request, message.decode.node)
                prefilling = self._prefilling[message.request] = Prefilling(message, loaded)
                self.spawn(self._serve(message, prefilling))
            case Loaded():
                self.answer("loaded", message.request, message)
            case Inboxes():
                self.met(sender, message.keys)
            case ReadFailed():
                self.read_failed(message)
            case RequestFailed():
                self._abandoned(message)
            case _:
                raise TypeError(f"{self.name} cannot handle {message}")

    def _abandoned(self, message: RequestFailed) -> None:
        """The decode node gives a request up: no more comes from it than it says."""
        prefilling = self._prefilling.get(message.request)
        if prefilling is None:
            return  # all of it had been sent to the decode node already
        error = Abandoned(message.reason)
        prefilling.abandon(error)
        self.ports.incoming.end(message.request, Kind.LAYER_FETCH, message.groups, error)
        self.ports.incoming.end(message.request, Kind.CHUNK_FETCH, message.chunk_groups, error)
        self.replies.fail("loaded", message.request, error)
        self.group.wake()

    def lose(self, node: str) -> None:
        """As `Node`; requests of a lost decode node are given up."""
        super().lose(node)
        for prefilling in self._prefilling.values():
            if prefilling.job.decode.node == node:
                prefilling.abandon(Abandoned(f"{node} was lost"))
        self.group.wake()

    # --- one request -------------------------------------------------------------------

    async def _serve(self, job: Assign, prefilling: Prefilling) -> None:
        try:
            done = await self._prefill(job, prefilling)
            self.mesh.send(job.decode.node, done)
        except (Abandoned, ReadError, NodeGone, WrongBytes, ArenaTooSmall) as error:
            # The decode node has said why it gave up, the scheduler that a node was lost.
            if not isinstance(error, Abandoned | NodeGone):
                self.event("request-failed", job.request, str(error))
            self.mesh.send(job.decode.node, _failed(job, prefilling, error))
        finally:
            del self._prefilling[job.request]
            self.ports.forget(job.request)
            self.account.end(job.request)

    async def _prefill(self, job: Assign, prefilling: Prefilling) -> PrefillDone:
        geometry = self.geometry(job)
        starved = self.group.starved(job.prefill.rail)
        buffer: Extent | None = None
        starved.reading()
        ready = False
        try:
            reads: list[Awaitable[object]] = []
            sources: list[LayerSource] = []
            passage = prefilling.passage = Passage(self, job, geometry, sources)
            if prefilling.loaded is not None:
                reads.append(prefilling.loaded)
                sources.append(DecodeSide(self, job))
            if geometry.pe_blocks and not self.cluster.moves_kv:
                self.read_ended(job.request)  # at once
            elif geometry.pe_blocks:
                buffer = await self.pe_buffer.allocate(geometry.pe_bytes)
                reads.append(self.read_blocks(job, "pe", self.pe_buffer_key, buffer))
                sources.append(self._prefill_side(job, geometry, buffer))
            times = _span(await asyncio.gather(*reads, return_exceptions=True))
            prefilling.check()
            ready = True
        except BaseException:
            if buffer is not None:
                self.pe_buffer.free(buffer)
            raise
        finally:
            starved.read(ready)
        try:
            if self.cluster.engines == "modelled":
                await self.group.prefill(passage)
            else:
                await self._pass_through(passage)
        finally:
            if buffer is not None:
                self.pe_buffer.free(buffer)
        return PrefillDone(
            job.request,
            times.start_s,
            times.end_s,
            passage.start_s,
            passage.end_s,
            passage.stalls_s,
            passage.verified_bytes,
            geometry.pe_bytes if self.cluster.moves_kv else 0,
            passage.made,
            passage.reloaded_bytes,
        )

    def _prefill_side(self, job: Assign, geometry: Geometry, buffer: Extent) -> PrefillSide:
        device = self.cluster.local_device(job.prefill.rail)
        loopback = pair_name(job.prefill.domain, self.name, device, "called")
        return PrefillSide(self, job, geometry, buffer, loopback)

    async def _pass_through(self, passage: Passage) -> None:
        """A request's layers, without compute: no engine waits for another, or for a batch."""
        async with self._turns[passage.job.prefill.rail]:
            try:
                await passage.admitted()
                passage.begin(whole(passage.geometry))
                free_s = passage.start_s
                for group in passage.geometry.groups():
                    await passage.arrived(group, free_s)
                    passage.finish(group)
                    free_s = time.monotonic()
                passage.end_s = free_s
            finally:
                await passage.close()


def _failed(job: Assign, prefilling: Prefilling, error: Exception) -> RequestFailed:
    passage = prefilling.passage
    unread = isinstance(error, ReadError)
    retry: Retry = "reread" if unread else "elsewhere" if isinstance(error, NodeGone) else ""
    return RequestFailed(
        job.request,
        str(error),
        0 if passage is None else passage.groups_returned,
        0 if passage is None else passage.chunk_groups_returned,
        retry,
        "pe" if unread else None,
    )


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
