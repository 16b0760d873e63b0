"""A role of engines joined by queue pairs in memory, delivering in whatever order a test says."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from agents.records import CollectiveRecord
from agents.traffic.execution import Collectives
from agents.traffic.sizes import Execution
from agents.wire.immediates import Kind, pack, unpack
from agents.wire.transfers import Transfer
from agents.wire.transport import Received


def moe(**changed: Any) -> Execution:
    """A small mixture of experts: dispatch of 10 bytes a token, combine of 20."""
    values: dict[str, Any] = {
        "experts": 64, "top_k": 8, "dispatch_bytes": 10.0, "combine_bytes": 20.0,
        "reduce_bytes": 0.0, "layer_share": 1.0, "copies": "expert", "ep_domain": "role",
        "nvlink": True, "fused_layers": {"decode": 1},
    }  # fmt: skip
    return Execution(**{**values, **changed})


def dense(**changed: Any) -> Execution:
    """A dense model with 16 bytes a token in an all-reduce."""
    return moe(experts=0, top_k=0, reduce_bytes=16.0, **changed)


class MemoryPorts:
    """What `Collectives` needs of `agents.ports.Ports`."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.handlers: dict[Kind, Callable[..., None]] = {}

    def register(self, memory: memoryview) -> int:
        self.network.regions.append(memory)
        return len(self.network.regions) - 1

    def handle(self, kind: Kind, handler: Callable[..., None]) -> None:
        self.handlers[kind] = handler

    def post(self, pair: str, transfer: Transfer) -> None:
        if pair in self.network.closed:
            return
        self.network.posted.setdefault(pair, deque()).append(transfer)


class Network:
    """Nodes of one role; messages of a queue pair arrive in order, those of others in any."""

    def __init__(self, nodes: int, rails: int, execution: Execution) -> None:
        self.regions: list[memoryview] = []
        self.posted: dict[str, deque[Transfer]] = {}
        self.carried: Counter[tuple[str, Kind]] = Counter()  # (NIC kind, kind) -> bytes
        self.records: list[CollectiveRecord] = []
        self.names = [f"de{n}" for n in range(nodes)]
        self.ports = {name: MemoryPorts(self) for name in self.names}
        self.nodes = [
            Collectives(
                self.ports[name], self.records.append, execution,  # type: ignore[arg-type]
                role="decode", nodes=self.names, own=name, rails=rails,
            )
            for name in self.names
        ]  # fmt: skip
        self.closed: set[str] = set()
        self.ends: dict[str, str] = {}  # the end that posts -> the end that receives
        for node in self.nodes:
            for rail, target, device in node._members.calls():
                own = node._members.domain(node._members.number, rail)
                pair = f"{own}>{target}/{device}:model"
                self.ends |= {
                    f"{pair}#caller": f"{pair}#called",
                    f"{pair}#called": f"{pair}#caller",
                }

    async def meet(self) -> None:
        """All nodes tell each other their inboxes."""
        by_name = dict(zip(self.names, self.nodes, strict=True))
        await asyncio.gather(
            *(
                node.meet(lambda to, keys, own=name: by_name[to].met(own, keys))  # type: ignore[misc]
                for name, node in by_name.items()
            )
        )

    def deliver(self, choose: Callable[[list[str]], str]) -> None:
        """One message of the queue pair that is chosen arrives."""
        pair = choose(sorted(name for name, waiting in self.posted.items() if waiting))
        transfer = self.posted[pair].popleft()
        data = b"".join(transfer.sources)
        self.regions[transfer.key][transfer.offset : transfer.offset + len(data)] = data
        target = self.ends[pair]
        caller, _, called = target.partition("#")[0].partition(">")
        local = called.partition("/")[0] if target.endswith("called") else caller
        immediate = pack(transfer.number, transfer.kind, transfer.part, last=True)
        received = Received(
            immediate, transfer.number, 0, 0, 0, 0, transfer.key, transfer.offset, len(data),
            target, 0.0, 0.0,
        )  # fmt: skip
        kind = "nvlink" if "/nvl" in pair else "cnic"
        self.carried[kind, transfer.kind] += len(data)
        node = local.rpartition("g")[0]
        self.ports[node].handlers[transfer.kind](unpack(immediate), received)

    def lose(self, name: str) -> None:
        """A node is lost: its queue pairs are closed, and the others are told."""
        for end in self.ends:
            if f"{name}g" in end:
                self.closed.add(end)
                self.posted.pop(end, None)
        for own, node in zip(self.names, self.nodes, strict=True):
            if own != name:
                node.lose(name)

    async def run(self, choose: Callable[[list[str]], str], *work: Any) -> None:
        """Deliver until all work is done; fails if it is not when nothing is left to deliver."""
        tasks = [asyncio.ensure_future(each) for each in work]
        await self._settle()
        while any(self.posted.values()):
            self.deliver(choose)
            await self._settle()
        for task in tasks:
            assert task.done(), "a collective waits for something that nobody has sent"
            task.result()

    async def _settle(self) -> None:
        for _ in range(8):  # a message wakes a future, which wakes tasks
            await asyncio.sleep(0)
