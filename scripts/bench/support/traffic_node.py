"""A node that does nothing but collectives and KV transfers: `agents.traffic` without engines.

    python -m scripts.bench.support.traffic_node --name pe0 --cluster FILE

Beside the cluster file lies `load.json`, a `Load`.  Prefill nodes run collectives.  KV goes from
DRAM to HBM over each engine's own CNIC (as loaded layers do), from HBM to the decode nodes' DRAM
(as KV returns), and from there to HBM (as on the `de` path).  Each flow keeps a window of transfers
under way.  Between collectives an engine "computes" for a time drawn around the mean gap.
"""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import msgspec

from agents.blocks.arena import Arena
from agents.cluster import Cluster
from agents.connections import call, listen
from agents.control.messages import Inboxes, Message
from agents.ports import Ports
from agents.process import Process, main, say
from agents.traffic.execution import Collectives
from agents.traffic.sizes import Execution
from agents.wire.immediates import Kind
from agents.wire.pair_names import pair_name
from agents.wire.transfers import Transfer
from testbed.sandbox.sockets import Broker

PIECE_BYTES = 128 * 1024  # as the engines' own transfers
WINDOW = 3
_LOAD_FILE = "load.json"


class Load(msgspec.Struct, frozen=True):
    """What the nodes do, once started.

    Args:
        execution: sizes of collectives.
        tokens, layers: of each.
        gap_s: mean computing between two.
        flows: KV flows of each engine, any of "loopback", "return", "fetch".
        kv_bps: rate of each flow, as payload; None for as fast as it goes.
        seconds: for collectives, after `settle_s` of KV only.
    """

    execution: Execution
    tokens: int
    layers: int
    gap_s: float
    flows: list[str]
    kv_bps: float | None
    settle_s: float
    seconds: float
    seed: int = 0


class TrafficNode(Process):
    """See above."""

    def __init__(self, name: str, cluster: Cluster) -> None:
        super().__init__(name, cluster)
        place = Path(cluster.records) / _LOAD_FILE
        self.load = msgspec.json.decode(place.read_bytes(), type=Load)
        self.ports = Ports(self, cluster.write_bytes)
        self.broker = Broker.from_environment()
        self.buffer = Arena(64 << 20, f"{name} buffer")
        self.key = self.ports.register(self.buffer.memory)
        self.keys: dict[str, list[int]] = {}
        self.known = asyncio.Event()
        self.execution: Collectives | None = None
        if name in cluster.prefill:
            self.execution = Collectives(
                self.ports, self.records.append, self.load.execution,
                role="prefill", nodes=cluster.prefill, own=name, rails=cluster.rails,
            )  # fmt: skip
        for kind in (Kind.LAYER_LOAD, Kind.KV_RETURN, Kind.LAYER_FETCH):
            self.ports.handle(kind, lambda _what, _received: None)

    def listen(self) -> None:
        """On the DRAM domain's ports, and on those of the engines."""
        listen(self.ports)
        if self.execution is not None:
            self.execution.listen(self.broker)

    async def connect(self) -> None:
        """As nodes of a real cluster do: engines call DRAM domains, and each other."""
        cluster = self.cluster
        if self.execution is not None:
            self.execution.call(self.broker, cluster.addresses)
            for rail in range(cluster.rails):
                own = f"{self.name}g{rail}"
                for target in (self.name, *cluster.decode):
                    (local,) = self.broker.sockets(own)
                    device = f"cnic{rail}"
                    address = cluster.addresses[target][device]
                    call(self.ports, local, address, own, target, device)
            pairs = cluster.rails * (2 + len(cluster.decode)) + self.execution.pair_count()
        else:
            pairs = cluster.rails * len(cluster.prefill)
        await self.ports.connected(pairs)
        for other in (*cluster.prefill, *cluster.decode):
            if other != self.name:
                self.mesh.send(other, Inboxes([self.key]))
        await self.known.wait()
        if self.execution is not None:
            await self.execution.meet(lambda node, keys: self.mesh.send(node, Inboxes([0, *keys])))
        for flow, pair, key in self._flows():
            self.spawn(self._move(flow, pair, key))
        if self.execution is not None:
            for rail in range(cluster.rails):
                self.spawn(self._compute(rail))

    def handle(self, sender: str, message: Message) -> None:
        """Keys of others: of their buffer, or (behind a zero) of their engines' inboxes."""
        assert isinstance(message, Inboxes)
        if message.keys[0] == 0:
            assert self.execution is not None
            self.execution.met(sender, message.keys[1:])
            return
        self.keys[sender] = message.keys
        if len(self.keys) == len(self.cluster.prefill) + len(self.cluster.decode) - 1:
            self.known.set()

    def _flows(self) -> list[tuple[Kind, str, int]]:
        """What this node sends: the kind, its end of the queue pair, the region it lands in."""
        found = []
        for rail in range(self.cluster.rails):
            device = f"cnic{rail}"
            for node in self.cluster.prefill:
                engine = f"{node}g{rail}"
                for target in (node, *self.cluster.decode):
                    down = pair_name(engine, target, device, "called")
                    up = pair_name(engine, target, device, "caller")
                    if target == node == self.name and "loopback" in self.load.flows:
                        found.append((Kind.LAYER_LOAD, down, self.key))
                    elif target != node and target == self.name and "fetch" in self.load.flows:
                        found.append((Kind.LAYER_FETCH, down, self.keys[node][0]))
                    elif target != node and node == self.name and "return" in self.load.flows:
                        found.append((Kind.KV_RETURN, up, self.keys[target][0]))
        return found

    async def _move(self, kind: Kind, pair: str, key: int) -> None:
        """One flow of KV, for ever."""
        await self.started.wait()
        loop = asyncio.get_running_loop()
        number = hash(pair) % (1 << 30)
        source = [self.buffer.memory[:PIECE_BYTES]]
        sent: list[asyncio.Future[object]] = []
        due_s, part = loop.time(), 0
        while True:
            part = (part + 1) % (1 << 16)
            offset = self.buffer.capacity_bytes // 2
            transfer = Transfer(kind, number, part, source, key, offset)
            sent.append(self.ports.post(pair, transfer))  # type: ignore[arg-type]
            if self.load.kv_bps is not None:
                due_s += 8 * PIECE_BYTES / self.load.kv_bps
                await asyncio.sleep(max(0.0, due_s - loop.time()))
            if len(sent) >= WINDOW:
                await sent.pop(0)

    async def _compute(self, rail: int) -> None:
        """One engine's collectives."""
        assert self.execution is not None
        await self.started.wait()
        random_gap = random.Random(f"{self.name} {rail} {self.load.seed}")
        await asyncio.sleep(self.load.settle_s)
        until_s = time.monotonic() + self.load.seconds
        while time.monotonic() < until_s:
            await asyncio.sleep(self.load.gap_s * random_gap.uniform(0.5, 1.5))
            await self.execution.layers(rail, self.load.tokens, self.load.layers)
        say(event="computed", rail=rail)

    def finish(self) -> None:
        """Record the accounts of all queue pairs."""
        self.ports.account()

    def leave(self) -> None:
        """Close the queue pairs."""
        self.ports.close()


if __name__ == "__main__":
    main(TrafficNode)
