"""The read paths, step by step: how hit KV reaches a prefill engine's HBM, layer by layer.

Each gives `load(group, offset)`: bring the hit part of one layer group into HBM at `offset`.

    pe   PE buffer --gather--> staging --CNIC loopback--> HBM         (DualPath section 4.1)
    de   credit to the decode node: DE buffer --gather--> staging --compute fabric--> HBM
"""

from __future__ import annotations

from typing import Protocol

from agents.blocks.arena import Extent
from agents.blocks.generate import gather_group
from agents.blocks.layout import LayerGroup
from agents.control import Assign, Credit
from agents.engines.geometry import Geometry
from agents.engines.node import Node
from agents.ports import Transfer
from agents.wire.immediates import Kind


class LayerSource(Protocol):
    """Where the hit KV of a request comes from."""

    async def load(self, group: LayerGroup, offset: int) -> None:
        """Have the hit part of `group` in HBM at `offset`; returns when it has arrived."""


class NothingStored:
    """No block of the prompt is stored: there is nothing to load."""

    async def load(self, group: LayerGroup, offset: int) -> None:
        """Nothing to do."""


async def send_group(
    node: Node,
    job: Assign,
    geometry: Geometry,
    full_blocks: memoryview,
    group: LayerGroup,
    pair: str,
    key: int,
    offset: int,
) -> None:
    """Gather one layer group out of Full Blocks and write it into a prefill engine's HBM.

    Args:
        node: the node that holds the Full Blocks.
        full_blocks: the hit blocks, in DRAM.
        pair: the queue pair through the right CNIC.
        key, offset: where in the HBM.
    """
    size = geometry.hit_in_slot(group).size
    staged = await node.staging.allocate(size)
    try:
        gather_group(
            node.layout,
            full_blocks,
            geometry.hit_blocks,
            group.first,
            group.count,
            staged.view[:size],
        )
        await node.ports.post(
            pair,
            Transfer(
                Kind.LAYER_LOAD,
                job.request,
                group.index,
                [staged.view[:size]],
                key,
                offset,
                group.first,
                group.count,
                job.path,
            ),
        )
    finally:
        node.staging.free(staged)


class PrefillSide:
    """The `pe` path: the hit blocks are in the PE buffer."""

    def __init__(
        self, node: Node, job: Assign, geometry: Geometry, buffer: Extent, pair: str
    ) -> None:
        self._node, self._job, self._geometry = node, job, geometry
        self._buffer, self._pair = buffer, pair

    async def load(self, group: LayerGroup, offset: int) -> None:
        """Gather, and cross the engine's CNIC twice: the NIC reads DRAM, then writes HBM."""
        node, job = self._node, self._job
        arrived = node.ports.expect(job.request, Kind.LAYER_LOAD, group.index)
        key = node.hbm_keys[job.prefill.rail]
        hits = self._buffer.view[: self._geometry.hit_bytes]
        await send_group(node, job, self._geometry, hits, group, self._pair, key, offset)
        await arrived


class DecodeSide:
    """The `de` path: the hit blocks are in the DE buffer; the decode node sends on credit."""

    def __init__(self, node: Node, job: Assign) -> None:
        self._node, self._job = node, job

    async def load(self, group: LayerGroup, offset: int) -> None:
        """Give credit for one group and wait for its bytes."""
        node, job = self._node, self._job
        arrived = node.ports.expect(job.request, Kind.LAYER_LOAD, group.index)
        key = node.hbm_keys[job.prefill.rail]
        node.mesh.send(job.decode.node, Credit(job.request, group.index, key, offset))
        await arrived
