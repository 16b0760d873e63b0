"""A request when no KV is moved: HBM that it would need, and the time that engines compute.

Storage is told of the blocks that the request would have written, so that the next turn finds its
prefix; no byte of them crosses a link.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from agents.blocks.arena import Extent
from agents.control.messages import Assign, LayDown, PrefillDone
from agents.engines.continuous import Part
from agents.engines.geometry import Geometry
from agents.engines.node import Node
from agents.loss import NodeGone


class Computed(NamedTuple):
    """What a request came to; times as in `agents.control.messages.Done`."""

    prefill: PrefillDone
    allocated_s: float
    start_s: float
    second_token_s: float
    end_s: float


class Oracle:
    """Requests of one decode node.

    Args:
        node: the node.
        take_part: has a request take part in the steps of its engine.
    """

    def __init__(self, node: Node, take_part: Callable[[Assign, Sequence[int]], Part]) -> None:
        self._node, self._take_part = node, take_part
        self._placement = node.cluster.placement()
        self._numbers = itertools.count()

    async def serve(self, job: Assign, geometry: Geometry) -> Computed:
        """Have a request computed.

        Raises:
            ArenaTooSmall: no HBM is large enough for it.
            NodeGone: the prefill node is lost.
        """
        node = self._node
        hbm = node.hbm[job.decode.rail]
        hbm.must_hold(geometry.hbm_bytes)
        allocated_s = time.monotonic()
        prefilled: Awaitable[object] = node.replies.expect(
            "prefill-done", job.request, job.prefill.node
        )
        node.mesh.send(job.prefill.node, job)
        if job.on("de"):
            node.read_ended(job.request)
        prefill = await prefilled
        assert isinstance(prefill, PrefillDone)
        extent: Extent = await hbm.allocate(geometry.hbm_bytes)
        node.account.in_hbm(job.request)
        last = max(1, job.generate_tokens - 1)  # the first token came from prefill
        part = self._take_part(job, [1, last])
        times = await part.started, await part.after[1], await part.after[last]
        hbm.free(extent)
        await self._lay_down(job, geometry)
        return Computed(prefill, allocated_s, *times)

    def lose(self, node: str) -> None:
        """A storage node is lost: others keep its blocks from now on."""
        self._placement = self._placement.without(node)

    async def _lay_down(self, job: Assign, geometry: Geometry) -> None:
        node, hashes = self._node, self._node.hashes(job)
        first = geometry.hit_blocks
        count = geometry.prompt_full_blocks + geometry.generated_full_blocks - first
        for run in self._placement.runs(hashes, first, count):
            number = next(self._numbers)
            parent = int(hashes[run.first - 1]) if run.first else None
            names = hashes[run.first : run.first + run.blocks].astype("<u8").tobytes()
            laid_down = node.replies.expect("laid-down", number, run.node)
            node.mesh.send(run.node, LayDown(number, names, parent, job.request))
            try:
                await laid_down  # what storage had no room for it has recorded
            except NodeGone as error:
                node.event("put-lost", job.request, f"{run.blocks} blocks: {error}")
