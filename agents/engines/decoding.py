"""From a prompt in HBM to its last token: decode, and persist every block that fills up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from agents.blocks.arena import Extent
from agents.blocks.maker import DecodeKV, Proof
from agents.control.messages import Assign, PrefillDone
from agents.engines.continuous import DecodeEngine, Part, at_once
from agents.engines.geometry import Geometry
from agents.engines.node import Node
from agents.engines.peers import Peers
from agents.engines.persist import Persister
from agents.incoming import WrongBytes
from agents.wire.immediates import Kind
from agents.wire.pair_names import pair_name
from agents.wire.transfers import Transfer


class Prompted(NamedTuple):
    """A request whose prompt is in HBM.

    Args:
        extent: the HBM.
        allocated_s: when it had its DE buffer.
        written_bytes: to storage, of the prompt.
    """

    job: Assign
    geometry: Geometry
    extent: Extent
    prefill: PrefillDone
    allocated_s: float
    written_bytes: int


class Decoded(NamedTuple):
    """When the decode engine did what, and the bytes it checked and wrote back."""

    start_s: float
    second_token_s: float
    end_s: float
    verified_bytes: int
    written_bytes: int
    proof: Proof


class Decoding:
    """The decoding of one node's requests.

    Args:
        node: the decode node.
        engines: of it, by rail.
        peers: keep generated blocks in its cache.
        persister: puts them into storage.
    """

    def __init__(
        self, node: Node, engines: Sequence[DecodeEngine], peers: Peers, persister: Persister
    ) -> None:
        self._node, self._engines = node, engines
        self._peers, self._persister = peers, persister

    def _check(self, job: Assign, geometry: Geometry, kv: DecodeKV, memory: memoryview) -> None:
        """Every block and layer of the prompt, as it lies in HBM."""
        wrong = kv.load(geometry.prompt_parts(memory))
        if wrong is not None:
            detail = f"HBM of {job.decode.domain}: {wrong}"
            self._node.event("wrong-bytes", job.request, detail)
            raise WrongBytes(detail)

    async def decode(self, prompt: Prompted) -> Decoded:
        """Generate tokens; every block that fills up is persisted at once."""
        job, geometry, extent = prompt.job, prompt.geometry, prompt.extent
        kv = self._node.maker.decode(self._node.prompt(job), prompt.prefill.made)
        self._check(job, geometry, kv, extent.view)
        last = max(1, job.generate_tokens - 1)  # the first token came from prefill
        full = _full_at(geometry)
        part = self.take_part(job, [1, last, *full])
        start_s = await part.started
        times: dict[int, float] = {}
        puts: list[asyncio.Future[int]] = []
        for step in sorted({1, last, *full}):
            times[step] = await part.after[step]
            for _ in kv.generate(min(step + 1, job.generate_tokens)):
                await asyncio.sleep(0)
            for index in (i for i, at in enumerate(full) if at == step):
                puts.append(asyncio.ensure_future(self._persist(job, geometry, kv, extent, index)))
        written = 0
        # All of them, whatever becomes of one: until then they read HBM.
        for result in await asyncio.gather(*puts, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
            written += result
        return Decoded(start_s, times[1], times[last], geometry.prompt_bytes, written, kv.result())

    def take_part(self, job: Assign, steps: Sequence[int]) -> Part:
        """A request's part in the steps of its engine."""
        if self._node.cluster.engines == "modelled":
            return self._engines[job.decode.rail].join(job.prompt_tokens, steps)
        return at_once(steps)

    async def _persist(
        self, job: Assign, geometry: Geometry, kv: DecodeKV, extent: Extent, index: int
    ) -> int:
        """One generated block: HBM -> CNIC -> DRAM -> SNIC -> storage."""
        node = self._node
        size = node.layout.full_block_bytes
        at = geometry.prompt_bytes + index * size
        memory = extent.view[at : at + size]
        number = geometry.prompt_full_blocks + index
        kv.block(number, memory)
        if index == 0:  # it begins with the prompt's tail, as it arrived
            tail = node.layout.token_bytes(geometry.tail_tokens)
            node.copied_bytes["scattered"] += node.layout.layers * tail
        staged = await node.staging.allocate(size)
        arrived = node.ports.incoming.expect(job.request, Kind.D2H, index)
        device = node.cluster.local_device(job.decode.rail)
        pair = pair_name(job.decode.domain, node.name, device, "caller")
        await node.ports.post(
            pair,
            Transfer(
                Kind.D2H,
                job.request,
                index,
                [memory],
                node.staging_key,
                staged.offset,
                path=job.path,
                digest=True,
                blocks=node.layout.layers,
            ),
        )
        await arrived
        self._peers.keep_generated(job, number, staged)
        return await self._persister.put(job.request, node.hashes(job), number, 1, staged)


def _full_at(geometry: Geometry) -> list[int]:
    """Steps after which each generated block is full.

    A step computes the KV of the token that it takes in: the KV of the n-th generated token is
    there after n steps.
    """
    block = geometry.layout.block_tokens
    first = block - geometry.tail_tokens
    return [first + index * block for index in range(geometry.generated_full_blocks)]
