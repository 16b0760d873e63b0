"""The decode node: holds whole prompts in DRAM, reads on its side, decodes, persists."""

from __future__ import annotations

import asyncio
import time

import msgspec

from agents.blocks.arena import Arena, ArenaTooSmall, Extent
from agents.blocks.generate import scatter_group
from agents.cluster import SCHEDULER, Cluster
from agents.control.messages import (
    Assign,
    Credit,
    Done,
    Inboxes,
    LaidDown,
    Loaded,
    Message,
    PeerRead,
    PeerReadFailed,
    PrefillDone,
    PutDone,
    PutReply,
    ReadFailed,
    RequestFailed,
)
from agents.engines.continuous import DecodeEngine
from agents.engines.decoding import Decoded, Decoding, Prompted
from agents.engines.geometry import Geometry
from agents.engines.held import Held, PrefillFailed
from agents.engines.node import Node, ReadError
from agents.engines.oracle import Oracle
from agents.engines.peers import Peers
from agents.engines.persist import Persister
from agents.incoming import WrongBytes
from agents.loss import NodeGone
from agents.wire.immediates import Kind
from agents.wire.pair_names import pair_name
from agents.wire.transfers import Transfer


class DecodeNode(Node):
    """One decode node and its engines."""

    def __init__(self, name: str, cluster: Cluster) -> None:
        super().__init__(name, cluster)
        self.de_buffer = Arena(cluster.buffers.de_buffer, f"{name} DE buffer")
        self.de_buffer_key = self.ports.register(self.de_buffer.memory)
        self.ports.handle(Kind.CHUNK_RETURN, lambda what, received: None)  # they are counted
        self.engines = [
            DecodeEngine(
                f"{name}g{rail}",
                rail,
                cluster.compute,
                cluster.layers,
                self.execution,
                self.records.append,
            )
            for rail in range(cluster.rails)
        ]
        self._jobs: dict[int, Assign] = {}
        self._held: dict[int, Held] = {}
        self._given_up: set[int] = set()
        self.peers = Peers(self, cluster)
        self._persister = Persister(self, cluster.decode.index(name))
        self._decoding = Decoding(self, self.engines, self.peers, self._persister)
        self._oracle = Oracle(self, self._decoding.take_part)

    async def connect(self) -> None:
        """As `Node`, and the other decode nodes' DRAM; then the engines begin to step."""
        self.peers.connect()
        await super().connect()
        if self.cluster.engines == "modelled":
            for engine in self.engines:
                self.spawn(engine.run())

    def pair_count(self) -> int:
        """As `Node`; one queue pair for each pair of a prefill and a decode engine; and peers'."""
        engines = len(self.cluster.prefill) * self.cluster.rails**2
        return super().pair_count() + engines + self.peers.pair_count()

    def jobs(self) -> list[Assign]:
        """What this node serves."""
        return list(self._jobs.values())

    def back(self, peer: str) -> None:
        """As `Node`, and what the cache has."""
        super().back(peer)
        self.peers.tell_all()

    def lose(self, node: str) -> None:
        """As `Node`; blocks are kept elsewhere if it was a storage node."""
        super().lose(node)
        self.peers.lose(node)
        self._persister.lose(node)
        self._oracle.lose(node)

    def finish(self) -> None:
        """As `Node`, and the account of the cache."""
        super().finish()
        self.peers.record()

    def peaks(self) -> dict[str, int]:
        """Peak use of each arena, in bytes."""
        return {**super().peaks(), self.de_buffer.name: self.de_buffer.peak_bytes}

    def handle(self, sender: str, message: Message) -> None:
        """A control message has arrived."""
        match message:
            case Assign():
                self._jobs[message.request] = message
                self.taken(message, "de")
                self.spawn(self._serve(message))
            case Credit():
                self._credit(message)
            case PrefillDone():
                self.answer("prefill-done", message.request, message)
            case Inboxes():
                self.met(sender, message.keys)
            case PutReply():
                self.answer("put-reply", message.put, message)
            case PutDone():
                self.answer("put-done", message.put, message)
            case LaidDown():
                self.answer("laid-down", message.number, message)
            case ReadFailed():
                self.read_failed(message)
            case PeerRead():
                self.peers.serve(sender, message)
            case PeerReadFailed():
                self.peers.failed(message)
            case RequestFailed():
                error = PrefillFailed(
                    f"{sender}: {message.reason}",
                    message.chunk_groups,
                    message.retry,
                    message.failed_side,
                )
                self.ports.incoming.end(message.request, Kind.KV_RETURN, message.groups, error)
                self.replies.fail("prefill-done", message.request, error)
            case _:
                raise TypeError(f"{self.name} cannot handle {message}")

    def _credit(self, credit: Credit) -> None:
        held = self._held.get(credit.request)
        if held is not None:
            held.credit(credit)
        elif credit.request not in self._given_up:
            self.event("stale-credit", credit.request, f"group {credit.group}")

    # --- one request -------------------------------------------------------------------

    async def _serve(self, job: Assign) -> None:
        try:
            if self.cluster.moves_kv:
                done = await self._decode_request(job)
            else:
                done = await self._only_compute(job)
        except (PrefillFailed, ReadError, NodeGone, WrongBytes, ArenaTooSmall) as error:
            # The prefill node has recorded what it failed of, the scheduler that a node was lost.
            if not isinstance(error, PrefillFailed | NodeGone):
                self.event("request-failed", job.request, str(error))
            done = _failed(job, error)
        finally:
            del self._jobs[job.request]
            self.account.end(job.request)
        self.mesh.send(SCHEDULER, done)

    async def _decode_request(self, job: Assign) -> Done:
        prompt = await self._prompt(job)
        try:
            decoded = await self._decoding.decode(prompt)
        finally:
            self.hbm[job.decode.rail].free(prompt.extent)
        return self._done(prompt, decoded)

    async def _prompt(self, job: Assign) -> Prompted:
        """Have the whole prompt in HBM."""
        geometry = self.geometry(job)
        self.hbm[job.decode.rail].must_hold(geometry.hbm_bytes)
        buffer = await self.de_buffer.allocate(geometry.prompt_bytes)
        held = self._held[job.request] = Held(self, job, geometry, buffer, time.monotonic())
        target = msgspec.structs.replace(
            job, target_key=self.de_buffer_key, target_offset=buffer.offset
        )
        self.mesh.send(job.prefill.node, target)
        try:
            prompt = await self._gathered(held)
        except (PrefillFailed, ReadError, NodeGone, WrongBytes) as error:
            del self._held[job.request]
            self._given_up.add(job.request)  # from now on: a credit may come before the task begins
            self.spawn(self._give_up(held, error))
            raise
        del self._held[job.request]
        self.de_buffer.free(buffer)
        self.ports.forget(job.request)
        return prompt

    async def _gathered(self, held: Held) -> Prompted:
        """Read, have the rest computed, copy to HBM, write back what storage does not have."""
        job, geometry, buffer = held.job, held.geometry, held.buffer
        if geometry.de_blocks:
            times = await self.peers.read(job, self.de_buffer_key, buffer)
            if not held.prefill_ended:
                self.mesh.send(job.prefill.node, Loaded(job.request, *times))
        prefill = await held.prefilled()
        kept = asyncio.ensure_future(self._persist_miss(job, geometry, buffer))
        held.leaving.append(kept)
        extent = await self.hbm[job.decode.rail].allocate(geometry.hbm_bytes)
        self.account.in_hbm(job.request)
        await self._to_hbm(job, geometry, buffer, extent)
        return Prompted(job, geometry, extent, prefill, held.allocated_s, await kept)

    async def _give_up(self, held: Held, error: Exception) -> None:
        """A failed request's buffer is given back when it is quiet, and not before."""
        request = held.job.request
        if not isinstance(error, PrefillFailed):
            self.mesh.send(held.job.prefill.node, held.give_up(str(error)))
        await held.quiet()
        self.de_buffer.free(held.buffer)
        self.ports.forget(request)
        self._given_up.discard(request)

    def _done(self, prompt: Prompted, decoded: Decoded) -> Done:
        job, geometry, prefill = prompt.job, prompt.geometry, prompt.prefill
        return Done(
            job.request,
            path=job.path,
            prefill=job.prefill.domain,
            decode=job.decode.domain,
            hit_tokens=geometry.hit_tokens,
            t_scheduled=job.t_scheduled,
            t_allocated=prompt.allocated_s,
            t_read_start=prefill.t_read_start,
            t_read_end=prefill.t_read_end,
            t_prefill_start=prefill.t_prefill_start,
            t_first_token=prefill.t_prefill_end,
            t_decode_start=decoded.start_s,
            t_second_token=decoded.second_token_s,
            t_decode_end=decoded.end_s,
            t_done=time.monotonic(),
            stalls_s=prefill.stalls_s,
            read_bytes=prefill.read_bytes + geometry.de_bytes,
            written_bytes=prompt.written_bytes + decoded.written_bytes,
            verified_bytes=decoded.verified_bytes,
            proof=decoded.proof,
            reloaded_bytes=prefill.reloaded_bytes,
        )

    # --- persistence of the prompt -------------------------------------------------------

    async def _persist_miss(self, job: Assign, geometry: Geometry, buffer: Extent) -> int:
        """Write the prompt's miss blocks to storage; the DE node has the whole prompt's KV."""
        self.peers.keep_prompt(job, geometry, buffer)
        blocks = geometry.miss_full_blocks
        if blocks == 0:
            return 0
        staged = await self.staging.allocate(blocks * self.layout.full_block_bytes)
        for group in geometry.groups():
            part = geometry.miss_in_buffer(group).of(buffer.view)
            scatter_group(self.layout, part, blocks, group.first, group.count, staged.view)
            self.copied_bytes["scattered"] += blocks * group.count * self.layout.layer_block_bytes
        return await self._persister.put(
            job.request, self.hashes(job), geometry.hit_blocks, blocks, staged
        )

    # --- HBM ---------------------------------------------------------------------------

    async def _to_hbm(
        self, job: Assign, geometry: Geometry, buffer: Extent, extent: Extent
    ) -> None:
        """H2D: the whole prompt crosses the decode engine's CNIC as a loopback."""
        arrived = self.ports.incoming.expect(job.request, Kind.H2D)
        source = buffer.view[: geometry.prompt_bytes]
        key = self.hbm_keys[job.decode.rail]
        device = self.cluster.local_device(job.decode.rail)
        pair = pair_name(job.decode.domain, self.name, device, "called")
        blocks = geometry.prompt_blocks * self.layout.layers
        transfer = Transfer(
            Kind.H2D,
            job.request,
            0,
            [source],
            key,
            extent.offset,
            path=job.path,
            blocks=blocks,
        )
        await self.ports.post(pair, transfer)
        await arrived

    # --- without KV ------------------------------------------------------------------------

    async def _only_compute(self, job: Assign) -> Done:
        found = await self._oracle.serve(job, self.geometry(job))
        return Done(
            job.request,
            path="none",
            prefill=job.prefill.domain,
            decode=job.decode.domain,
            hit_tokens=self.geometry(job).hit_tokens,
            t_scheduled=job.t_scheduled,
            t_allocated=found.allocated_s,
            t_prefill_start=found.prefill.t_prefill_start,
            t_first_token=found.prefill.t_prefill_end,
            t_decode_start=found.start_s,
            t_second_token=found.second_token_s,
            t_decode_end=found.end_s,
            t_done=time.monotonic(),
            stalls_s=found.prefill.stalls_s,
        )


def _failed(job: Assign, error: Exception) -> Done:
    """What the scheduler is told of a request that has failed."""
    if isinstance(error, PrefillFailed):
        return Done(job.request, error=str(error), retry=error.retry, failed_side=error.failed_side)
    if isinstance(error, ReadError):
        return Done(job.request, error=str(error), retry="reread", failed_side="de")
    if isinstance(error, NodeGone):
        return Done(job.request, error=str(error), retry="elsewhere")
    return Done(job.request, error=str(error))
