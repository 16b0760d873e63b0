"""A prompt in a decode node's DE buffer: who writes into it, who reads it, when it may be freed.

Storage and the prefill engine write into the buffer, and layer groups are sent out of it on the
prefill node's credit.  When a request fails, each side tells the other how many groups it has sent
in all, and the buffer stays where it is until so many have landed and all that was promised has
left.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable

from agents.blocks.arena import Extent
from agents.control.messages import Assign, Credit, PrefillDone, RequestFailed, Retry
from agents.engines.geometry import Geometry
from agents.engines.node import Node
from agents.engines.paths import Landing, send_group
from agents.loss import NodeGone
from agents.read_path import Side
from agents.wire.immediates import Kind
from agents.wire.pair_names import pair_name
from agents.wire.transfers import Transfer


class PrefillFailed(Exception):
    """The prefill node has given the request up.

    Args:
        reason: what it says.
        chunk_groups: layer groups of earlier chunks that it has sent in all.
        retry, failed_side: as in `Done`.
    """

    def __init__(
        self,
        reason: str,
        chunk_groups: int,
        retry: Retry = "",
        failed_side: Side | None = None,
    ) -> None:
        super().__init__(reason)
        self.chunk_groups = chunk_groups
        self.retry: Retry = retry
        self.failed_side = failed_side


class Held:
    """A request's prompt in the DE buffer.

    Args:
        node: the decode node.
        job, geometry: the request.
        buffer: its part of the DE buffer.
        allocated_s: when it was allocated.
    """

    def __init__(
        self, node: Node, job: Assign, geometry: Geometry, buffer: Extent, allocated_s: float
    ) -> None:
        self._node, self.job, self.geometry, self.buffer = node, job, geometry, buffer
        self.allocated_s = allocated_s
        # Expected before anybody can send or answer.
        self._returns = [
            node.ports.incoming.expect(job.request, Kind.KV_RETURN, group.index, job.prefill.node)
            for group in geometry.groups()
        ]
        self._prefilled = node.replies.expect("prefill-done", job.request, job.prefill.node)
        self._sends: list[asyncio.Task[None]] = []
        self.groups_sent = 0
        self.chunk_groups_sent = 0
        self.leaving: list[Awaitable[object]] = []

    # --- layer groups on credit -----------------------------------------------------------

    def credit(self, credit: Credit) -> None:
        """The prefill engine has room for a layer group: it will be sent."""
        if credit.miss_blocks:
            self.chunk_groups_sent += 1
            sending = self._send_earlier(credit)
        else:
            self.groups_sent += 1
            sending = self._send_hits(credit)
        self._sends.append(asyncio.get_running_loop().create_task(sending))

    async def _send_hits(self, credit: Credit) -> None:
        """What this node has read, straight into the prefill engine's HBM."""
        group = self.geometry.groups()[credit.group]
        blocks = self.buffer.view[: self.geometry.de_bytes]
        landing = Landing(Kind.LAYER_FETCH, self._pair, credit.key)
        await send_group(self._node, self.job.request, blocks, group, landing, credit.offset)

    async def _send_earlier(self, credit: Credit) -> None:
        """What earlier chunks have computed, as soon as all of it has come back."""
        node, request, prefill = self._node, self.job.request, self.job.prefill.node
        try:
            await node.ports.incoming.landed(request, Kind.CHUNK_RETURN, credit.landed, prefill)
        except NodeGone:
            return  # it is not there to take it
        group = self.geometry.groups()[credit.group]
        size = group.count * credit.miss_blocks * node.layout.layer_block_bytes
        source = self.geometry.miss_in_buffer(group).of(self.buffer.view)[:size]
        await node.ports.post(
            self._pair,
            Transfer(
                Kind.CHUNK_FETCH,
                request,
                group.index,
                [source],
                credit.key,
                credit.offset,
                group.first,
                group.count,
                self.job.path,
                blocks=group.count * credit.miss_blocks,
            ),
        )

    @property
    def _pair(self) -> str:
        device = f"cnic{self.job.decode.rail}"
        return pair_name(self.job.prefill.domain, self._node.name, device, "called")

    # --- the end -------------------------------------------------------------------------

    @property
    def prefill_ended(self) -> bool:
        """The prefill node has said that it is done, or that it has failed."""
        assert isinstance(self._prefilled, asyncio.Future)
        return self._prefilled.done()

    async def prefilled(self) -> PrefillDone:
        """The whole prompt is in the buffer.

        Raises:
            PrefillFailed: the prefill node has given the request up.
            WrongBytes: what it returned is not what it sent.
            NodeGone: the prefill node is lost.
        """
        done = await self._prefilled
        assert isinstance(done, PrefillDone)
        await self._all_returned()
        return done

    async def _all_returned(self) -> None:
        ended = await asyncio.gather(*self._returns, return_exceptions=True)
        for result in ended:
            if isinstance(result, BaseException):
                raise result

    def give_up(self, reason: str) -> RequestFailed:
        """What to tell the prefill node; no credit may be taken from here on."""
        return RequestFailed(self.job.request, reason, self.groups_sent, self.chunk_groups_sent)

    async def quiet(self) -> None:
        """Wait until nothing writes into the buffer any more, and nothing reads it.

        The prefill node says so when it is done or has stopped; storage ends every read.  Of a
        node that is lost nothing comes any more.
        """
        request, prefill = self.job.request, self.job.prefill.node
        with contextlib.suppress(NodeGone):
            try:
                await self._prefilled
            except PrefillFailed as stopped:
                landed = stopped.chunk_groups
                await self._node.ports.incoming.landed(request, Kind.CHUNK_RETURN, landed, prefill)
        await asyncio.gather(*self._returns, *self.leaving, return_exceptions=True)
        await asyncio.gather(*self._sends)
