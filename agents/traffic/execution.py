"""What engines call: the collectives of the layers that they compute, with their fusing.

    execution = Collectives(ports, log, execution, nodes, own, rails)
    execution.listen(broker)                 before the control mesh
    execution.call(broker, addresses)        when it is complete; then wait for all queue pairs
    await execution.meet(announce)           the inboxes of all nodes are known
    await execution.layers(rank, tokens, n)  n layers of a batch (or step) have been computed

`layers` returns when the results of every collective that was due are back, and at once when
tokens are 0 or the layers are still being put together into one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np

from agents.blocks.arena import Arena
from agents.connections import call, listen
from agents.ports import Ports
from agents.records import AnyRecord, CollectiveRecord
from agents.traffic.exchange import Exchange, Finished
from agents.traffic.members import LANE, SLOT_BYTES, Members
from agents.traffic.ring import Ring
from agents.traffic.sizes import ALL_REDUCES_PER_LAYER, Carry, Execution
from testbed.sandbox.sockets import Broker

_ROUNDING = 1e-9  # of layers: sums of shares are not exact


class _Due:
    """What an engine has computed since its last collective."""

    def __init__(self) -> None:
        self.layers = 0.0
        self.token_layers = 0.0
        self.turn = asyncio.Lock()


class Collectives:
    """The model-execution traffic of one node: that of its engines, and of experts they host.

    Args:
        ports: of the node's process.
        log: takes the records.
        execution: sizes and fusing.
        role: "prefill" or "decode".
        nodes: of the role, in the order that all of them know; `own` is one of them.
        rails: engines of each.
    """

    def __init__(
        self,
        ports: Ports,
        log: Callable[[AnyRecord], None],
        execution: Execution,
        *,
        role: str,
        nodes: list[str],
        own: str,
        rails: int,
    ) -> None:
        self._ports = ports
        self._log = log
        self._execution = execution
        self._fused = execution.fused_layers[role]
        among = nodes if execution.experts and execution.ep_domain == "role" else [own]
        self._members = members = Members(among, own, rails, nvlink=execution.nvlink, role=role)
        inboxes = [Arena(members.inbox_bytes, f"{own}g{rail} activations") for rail in range(rails)]
        self.keys = [ports.register(inbox.memory) for inbox in inboxes]
        made = np.random.default_rng(members.number).bytes(SLOT_BYTES)
        activations = memoryview(made)
        self._exchange = Exchange(
            ports, members, execution, [inbox.memory for inbox in inboxes], activations
        )
        self._ring = Ring(
            ports, members, self.keys, activations, self._exchange.number, digest=execution.digest
        )
        self._due = [_Due() for _ in range(rails)]
        self._carries = [Carry() for _ in range(rails)]
        self._tasks: set[asyncio.Task[None]] = set()
        self._known: dict[str, list[int]] = {own: self.keys}
        self._all_known = asyncio.Event()

    # --- coming up -----------------------------------------------------------------------

    def pair_count(self) -> int:
        """Queue pairs of this process when all are up."""
        return self._members.pair_count()

    def listen(self, broker: Broker) -> None:
        """Accept queue pairs on every NIC of every HBM domain."""
        for rail in range(self._members.rails):
            (server,) = broker.sockets(self._members.domain(self._members.number, rail))
            listen(self._ports, server)

    def call(self, broker: Broker, addresses: dict[str, dict[str, str]]) -> None:
        """Open the queue pairs that this node opens.

        Args:
            broker: makes their sockets.
            addresses: domain -> device -> IPv4 address.
        """
        for rail, target, device in self._members.calls():
            own = self._members.domain(self._members.number, rail)
            (local,) = broker.sockets(own)
            local.bind((addresses[own][device], 0))
            call(self._ports, local, addresses[target][device], own, target, device, LANE)

    def met(self, node: str, keys: list[int]) -> None:
        """A node has said where its engines' inboxes are."""
        self._known[node] = keys
        if self._known.keys() >= set(self._members.nodes):
            self._all_known.set()

    async def meet(self, announce: Callable[[str, list[int]], None]) -> None:
        """Exchange the keys of inboxes with all nodes of the role.

        Args:
            announce: sends (node, own keys); what comes back goes to `met`.
        """
        for node in self._members.nodes:
            if node != self._members.own:
                announce(node, self.keys)
        self.met(self._members.own, self.keys)
        await self._all_known.wait()
        self._exchange.landing([self._known[node] for node in self._members.nodes])

    # --- engines -------------------------------------------------------------------------

    async def layers(self, rank: int, tokens: int, layers: int) -> None:
        """Exchange what an engine's tokens need in some layers; returns when it is done.

        Args:
            rank: the engine, by its rail.
            tokens: that go through the layers: miss tokens of a batch, or one a request of a
                decode step.  Engines without tokens need not call.
            layers: of the model, as the KV cache counts them.

        An engine has one collective under way at a time: further calls wait their turn.  Who is
        cancelled leaves it to end by itself, for others have it half done.
        """
        if tokens:
            await self._to_its_end(self._layers(rank, tokens, layers))

    async def flush(self, rank: int) -> None:
        """Run the collective of layers that are still being put together: the engine rests."""
        await self._to_its_end(self._rest(rank))

    def lose(self, node: str) -> None:
        """A node is lost: nobody waits for its experts any more, and they get no tokens."""
        self._exchange.lose(node)

    async def _to_its_end(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # the loop itself holds no more than a weak reference
        task.add_done_callback(self._tasks.discard)
        await asyncio.shield(task)

    async def _layers(self, rank: int, tokens: int, layers: int) -> None:
        due = self._due[rank]
        left = layers * self._execution.layer_share
        async with due.turn:
            while left > _ROUNDING:
                taken = min(left, self._fused - due.layers)
                due.layers += taken
                due.token_layers += taken * tokens
                left -= taken
                if due.layers >= self._fused - _ROUNDING:
                    await self._collective(rank, due)

    async def _rest(self, rank: int) -> None:
        due = self._due[rank]
        async with due.turn:
            if due.token_layers:
                await self._collective(rank, due)

    async def _collective(self, rail: int, due: _Due) -> None:
        layers, token_layers = due.layers, due.token_layers
        due.layers = due.token_layers = 0.0
        start_s = time.monotonic()
        if self._execution.experts:
            kind = "all-to-all"
            finished = await self._exchange.run(rail, token_layers)
        else:
            kind = "all-reduce"
            finished = await self._all_reduce(rail, token_layers)
        self._log(
            CollectiveRecord(
                kind=kind,
                number=finished.number,
                engine=self._members.domain(self._members.number, rail),
                engines=len(self._members.nodes) * self._members.rails,
                layers=layers,
                tokens=token_layers / layers,
                size_bytes=finished.size_bytes,
                t_start=start_s,
                t_dispatched=finished.dispatched_s,
                t_end=time.monotonic(),
            )
        )

    async def _all_reduce(self, rail: int, token_layers: float) -> Finished:
        size = token_layers * self._execution.reduce_bytes * ALL_REDUCES_PER_LAYER
        return await self._ring.run(rail, self._carries[rail].whole(size))
