"""The decode node: holds whole prompts in DRAM, reads on its side, decodes, persists."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

import msgspec

from agents.blocks.arena import Arena, ArenaTooSmall, Extent
from agents.blocks.generate import scatter_group
from agents.blocks.maker import DecodeKV, Prefilled, Proof
from agents.cluster import Cluster
from agents.control import (
    Assign,
    Credit,
    Done,
    Inboxes,
    Loaded,
    Message,
    PrefillDone,
    PutDone,
    PutReply,
    ReadFailed,
    RequestFailed,
)
from agents.engines.geometry import Geometry
from agents.engines.node import SCHEDULER, Node, ReadError
from agents.engines.paths import Landing, send_group
from agents.engines.persist import Persister
from agents.ports import Transfer, WrongBytes, pair_name
from agents.wire.immediates import Kind


class PrefillFailed(Exception):
    """The prefill node has given the request up."""


class Held(NamedTuple):
    """A request whose hit blocks wait in the DE buffer for the prefill node's credits."""

    job: Assign
    geometry: Geometry
    buffer: Extent


class Decoded(NamedTuple):
    """When the decode engine did what, and the bytes it checked and wrote back."""

    start_s: float
    second_token_s: float
    end_s: float
    verified_bytes: int
    written_bytes: int
    proof: Proof


class DecodeNode(Node):
    """One decode node and its engines."""

    def __init__(self, name: str, cluster: Cluster) -> None:
        super().__init__(name, cluster)
        self.de_buffer = Arena(cluster.buffers.de_buffer, f"{name} DE buffer")
        self.de_buffer_key = self.ports.register(self.de_buffer.memory)
        self._held: dict[int, Held] = {}
        self._persister = Persister(self, cluster.decode.index(name))

    def pair_count(self) -> int:
        """As `Node`, and one queue pair for each pair of a prefill and a decode engine."""
        return super().pair_count() + len(self.cluster.prefill) * self.cluster.rails**2

    def peaks(self) -> dict[str, int]:
        """Peak use of each arena, in bytes."""
        return {**super().peaks(), self.de_buffer.name: self.de_buffer.peak_bytes}

    def handle(self, sender: str, message: Message) -> None:
        """A control message has arrived."""
        match message:
            case Assign():
                self.taken(message, "de")
                self.spawn(self._serve(message))
            case Credit():
                self.spawn(self._send_layers(message))
            case PrefillDone():
                self.answer("prefill-done", message.request, message)
            case Inboxes():
                self.met(sender, message.keys)
            case PutReply():
                self.answer("put-reply", message.put, message)
            case PutDone():
                self.answer("put-done", message.put, message)
            case ReadFailed():
                self.read_failed(message)
            case RequestFailed():
                error = PrefillFailed(f"{sender}: {message.reason}")
                self.ports.fail(message.request, error)
                self.replies.fail(message.request, error)
            case _:
                raise TypeError(f"{self.name} cannot handle {message}")

    # --- one request -------------------------------------------------------------------

    async def _serve(self, job: Assign) -> None:
        try:
            done = await self._decode_request(job)
        except PrefillFailed as error:
            done = Done(job.request, error=str(error))
        except (ReadError, WrongBytes, ArenaTooSmall) as error:
            self.event("request-failed", job.request, str(error))
            self.mesh.send(job.prefill.node, RequestFailed(job.request, str(error)))
            done = Done(job.request, error=str(error))
        finally:
            self._held.pop(job.request, None)
            self.ports.forget(job.request)
            self.account.end(job.request)
        self.mesh.send(SCHEDULER, done)

    async def _decode_request(self, job: Assign) -> Done:
        geometry = self.geometry(job)
        buffer = await self.de_buffer.allocate(geometry.prompt_bytes)
        allocated_s = time.monotonic()
        try:
            returns = [
                self.ports.expect(job.request, Kind.KV_RETURN, group.index)
                for group in geometry.groups()
            ]
            prefilled = self.replies.expect("prefill-done", job.request)
            target = msgspec.structs.replace(
                job, target_key=self.de_buffer_key, target_offset=buffer.offset
            )
            self.mesh.send(job.prefill.node, target)
            if geometry.de_blocks:
                times = await self.read_blocks(job, "de", self.de_buffer_key, buffer)
                self._held[job.request] = Held(job, geometry, buffer)
                self.mesh.send(job.prefill.node, Loaded(job.request, *times))
            prefill = await prefilled
            assert isinstance(prefill, PrefillDone)
            await asyncio.gather(*returns)
            self._held.pop(job.request, None)
            kept = asyncio.ensure_future(self._persist_miss(job, geometry, buffer))
            hbm = self.hbm[job.decode.rail]
            extent = await hbm.allocate(geometry.hbm_bytes)
            self.account.in_hbm(job.request)
            try:
                await self._to_hbm(job, geometry, buffer, extent)
                written = await kept
            except BaseException:
                hbm.free(extent)
                raise
        finally:
            self.de_buffer.free(buffer)
        try:
            decoded = await self._decode(job, geometry, extent, prefill.made)
        finally:
            hbm.free(extent)
        return Done(
            job.request,
            path=job.path,
            prefill=job.prefill.domain,
            decode=job.decode.domain,
            hit_tokens=geometry.hit_tokens,
            t_scheduled=job.t_scheduled,
            t_allocated=allocated_s,
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
            written_bytes=written + decoded.written_bytes,
            verified_bytes=decoded.verified_bytes,
            proof=decoded.proof,
        )

    async def _send_layers(self, credit: Credit) -> None:
        """One layer group of what this node has read, straight into the prefill engine's HBM."""
        held = self._held.get(credit.request)
        if held is None:
            self.event("stale-credit", credit.request, f"group {credit.group}")
            return
        job = held.job
        pair = pair_name(job.prefill.domain, self.name, f"cnic{job.decode.rail}", "called")
        group = held.geometry.groups()[credit.group]
        blocks = held.buffer.view[: held.geometry.de_bytes]
        landing = Landing(Kind.LAYER_FETCH, pair, credit.key)
        await send_group(self, job.request, blocks, group, landing, credit.offset)

    # --- persistence of the prompt -------------------------------------------------------

    async def _persist_miss(self, job: Assign, geometry: Geometry, buffer: Extent) -> int:
        """Write the prompt's miss blocks to storage; the DE node has the whole prompt's KV."""
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
        arrived = self.ports.expect(job.request, Kind.H2D)
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

    def _check(self, job: Assign, geometry: Geometry, kv: DecodeKV, memory: memoryview) -> None:
        """Every block and layer of the prompt, as it lies in HBM."""
        wrong = kv.load(geometry.prompt_parts(memory))
        if wrong is not None:
            detail = f"HBM of {job.decode.domain}: {wrong}"
            self.event("wrong-bytes", job.request, detail)
            raise WrongBytes(detail)

    # --- decode ------------------------------------------------------------------------

    async def _decode(
        self, job: Assign, geometry: Geometry, extent: Extent, prefilled: Prefilled
    ) -> Decoded:
        """Generate tokens; every block that fills up is persisted at once."""
        start_s = time.monotonic()
        kv = self.maker.decode(self.prompt(job), prefilled)
        self._check(job, geometry, kv, extent.view)
        tpot_s = self.cluster.compute.tpot_s if self.cluster.engines == "modelled" else 0.0
        loop = asyncio.get_running_loop()
        began = loop.time()

        async def until_token(count: int) -> None:
            """`count` tokens beyond the first, which came from prefill."""
            for _ in kv.generate(min(count + 1, job.generate_tokens)):
                await asyncio.sleep(0)
            if (wait_s := began + count * tpot_s - loop.time()) > 0:
                await asyncio.sleep(wait_s)

        await until_token(1)
        second_token_s = time.monotonic()
        puts: list[asyncio.Future[int]] = []
        block = self.layout.block_tokens
        for index in range(geometry.generated_full_blocks):
            full_at = (geometry.prompt_full_blocks + index + 1) * block - geometry.prompt_tokens
            await until_token(full_at)
            puts.append(asyncio.ensure_future(self._persist(job, geometry, kv, extent, index)))
        await until_token(max(1, job.generate_tokens - 1))
        end_s = time.monotonic()
        written = sum(await asyncio.gather(*puts))
        proof = kv.result()
        return Decoded(start_s, second_token_s, end_s, geometry.prompt_bytes, written, proof)

    async def _persist(
        self, job: Assign, geometry: Geometry, kv: DecodeKV, extent: Extent, index: int
    ) -> int:
        """One generated block: HBM -> CNIC -> DRAM -> SNIC -> storage."""
        size = self.layout.full_block_bytes
        at = geometry.prompt_bytes + index * size
        memory = extent.view[at : at + size]
        number = geometry.prompt_full_blocks + index
        kv.block(number, memory)
        if index == 0:  # it begins with the prompt's tail, as it arrived
            tail = self.layout.token_bytes(geometry.tail_tokens)
            self.copied_bytes["scattered"] += self.layout.layers * tail
        staged = await self.staging.allocate(size)
        arrived = self.ports.expect(job.request, Kind.D2H, index)
        device = self.cluster.local_device(job.decode.rail)
        pair = pair_name(job.decode.domain, self.name, device, "caller")
        await self.ports.post(
            pair,
            Transfer(
                Kind.D2H,
                job.request,
                index,
                [memory],
                self.staging_key,
                staged.offset,
                path=job.path,
                digest=True,
                blocks=self.layout.layers,
            ),
        )
        await arrived
        return await self._persister.put(job.request, self.hashes(job), number, 1, staged)
