"""The read paths, step by step: how hit KV reaches a prefill engine's HBM, layer by layer.

Each gives `load(group, offset)`: bring its part of one layer group into the HBM slot at `offset`.

    pe   PE buffer --gather--> staging --CNIC loopback--> HBM         (DualPath section 4.1)
    de   credit to the decode node: DE buffer --gather--> staging --compute fabric--> HBM

What earlier chunks of a prompt computed comes as on the de path, whatever the path of the hits.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from agents.blocks.arena import Extent
from agents.blocks.generate import gather_group
from agents.blocks.layout import LayerGroup
from agents.control.messages import Assign, Credit
from agents.engines.chunks import Chunk
from agents.engines.geometry import Geometry
from agents.engines.node import Node
from agents.wire.immediates import Kind
from agents.wire.transfers import Transfer


class LayerSource(Protocol):
    """Where hit KV of a request comes from."""

    async def load(self, group: LayerGroup, offset: int) -> None:
        """Have its part of `group` in the HBM slot at `offset`; returns when it has arrived."""


class Landing(NamedTuple):
    """Where layer groups land.

    Args:
        kind: of the transfers: from the PE buffer or from the DE buffer.
        pair: the queue pair through the right CNIC.
        key: region of the prefill engine's HBM.
    """

    kind: Kind
    pair: str
    key: int


async def send_group(
    node: Node, request: int, full_blocks: memoryview, group: LayerGroup, to: Landing, offset: int
) -> None:
    """Gather one layer group out of Full Blocks and write it into a prefill engine's HBM.

    Args:
        node: the node that holds the Full Blocks.
        request: whose they are.
        full_blocks: all of them, in DRAM.
        to, offset: where in the HBM.
    """
    blocks = full_blocks.nbytes // node.layout.full_block_bytes
    size = blocks * group.count * node.layout.layer_block_bytes
    staged = await node.staging.allocate(size)
    try:
        part = staged.view[:size]
        gather_group(node.layout, full_blocks, blocks, group.first, group.count, part)
        node.copied_bytes["gathered"] += part.nbytes
        path = "pe" if to.kind is Kind.LAYER_LOAD else "de"
        await node.ports.post(
            to.pair,
            Transfer(
                to.kind,
                request,
                group.index,
                [part],
                to.key,
                offset,
                group.first,
                group.count,
                path,
                blocks=blocks * group.count,
            ),
        )
    finally:
        node.staging.free(staged)


class PrefillSide:
    """Blocks in the PE buffer."""

    def __init__(
        self, node: Node, job: Assign, geometry: Geometry, buffer: Extent, pair: str
    ) -> None:
        self._node, self._request, self._geometry = node, job.request, geometry
        self._blocks = buffer.view[: geometry.pe_bytes]
        self._rail = job.prefill.rail
        self._landing = Landing(Kind.LAYER_LOAD, pair, node.hbm_keys[job.prefill.rail])

    async def load(self, group: LayerGroup, offset: int) -> None:
        """Gather, and cross the engine's CNIC twice: the NIC reads DRAM, then writes HBM."""
        arrived = self._node.ports.incoming.expect(self._request, self._landing.kind, group.index)
        span = self._geometry.pe_in_slot(group)
        at = offset + span.offset
        async with self._node.meters.at_work("load", self._rail):
            await send_group(self._node, self._request, self._blocks, group, self._landing, at)
            await arrived
        _loaded(self._node, "load", group, span.size)


class DecodeSide:
    """Blocks in the DE buffer; the decode node sends on credit."""

    def __init__(self, node: Node, job: Assign) -> None:
        self._node, self._job = node, job

    async def load(self, group: LayerGroup, offset: int) -> None:
        """Give credit for one group and wait for its bytes."""
        node, job = self._node, self._job
        arrived = node.ports.incoming.expect(
            job.request, Kind.LAYER_FETCH, group.index, job.decode.node
        )
        key = node.hbm_keys[job.prefill.rail]
        async with node.meters.at_work("fetch", job.prefill.rail):
            node.mesh.send(job.decode.node, Credit(job.request, group.index, key, offset))
            await arrived
        size = node.geometry(job).de_in_slot(group).size
        _loaded(node, "fetch", group, size)


class EarlierChunks:
    """What earlier chunks computed, in the DE buffer since it was returned there.

    Args:
        chunk: that attends to it.
        landed: layer groups of earlier chunks that must have come back to the DE buffer.
    """

    def __init__(self, node: Node, job: Assign, chunk: Chunk, landed: int) -> None:
        self._node, self._job, self._chunk, self._landed = node, job, chunk, landed

    async def load(self, group: LayerGroup, offset: int) -> None:
        """Give credit for it and wait for its bytes."""
        node, job = self._node, self._job
        arrived = node.ports.incoming.expect(
            job.request, Kind.CHUNK_FETCH, group.index, job.decode.node
        )
        key = node.hbm_keys[job.prefill.rail]
        at = offset + self._chunk.earlier_in_slot(group).offset
        credit = Credit(job.request, group.index, key, at, self._chunk.first, self._landed)
        node.mesh.send(job.decode.node, credit)
        await arrived


def _loaded(node: Node, way: str, group: LayerGroup, size_bytes: int) -> None:
    """A layer group has arrived; after the last one the scheduler hears how quick it was."""
    node.meters.carried(way, size_bytes)
    if group.first + group.count == node.layout.layers:
        node.tell_rates()
