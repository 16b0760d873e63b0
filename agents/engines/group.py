"""The prefill engines of one node iterate together: data-parallel ranks of one model.

An iteration: every rank takes a batch off its FIFO; then, for each layer group, the KV of the
group arrives, the rank's attention takes its time, all ranks wait for each other, FFN takes its
time, and KV returns.  Ranks without work hold nobody up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, NamedTuple

from agents.blocks.layout import LayerGroup
from agents.cluster import Cluster
from agents.engines.batch import Work, form_batch
from agents.engines.chunks import Chunk, starting_at
from agents.engines.compute import BatchTimes, ComputeClock, attention_s, batch_times
from agents.engines.execution import ModelExecution
from agents.engines.layers import Abandoned, Passage
from agents.engines.meeting import Meeting
from agents.engines.starved import Starved
from agents.incoming import WrongBytes
from agents.loss import NodeGone
from agents.records import IterationRecord


class Member:
    """A request in the queue of a rank.

    Args:
        passage: its KV.
    """

    def __init__(self, passage: Passage) -> None:
        self.passage = passage
        self.next_block = 0  # of the miss blocks
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def work(self) -> Work:
        """What is left to compute."""
        geometry = self.passage.geometry
        done = self.next_block * geometry.layout.block_tokens
        return Work(geometry.hit_tokens + done, geometry.miss_tokens - done)


class Batch(NamedTuple):
    """What one rank computes in one iteration."""

    rail: int
    members: list[tuple[Member, Chunk]]
    times: BatchTimes

    @property
    def tokens(self) -> int:
        """That are computed."""
        return sum(chunk.tokens for _, chunk in self.members)


@dataclass
class _Spent:
    """Where the time of one rank's iteration went."""

    start_s: float
    starved_s: float
    stall_s: float = 0.0
    wait_s: float = 0.0

    async def meet(self, meeting: Meeting, at_s: float) -> float:
        """Wait for the other ranks; when the last of them was there."""
        met_s = await meeting.arrive(at_s)
        self.wait_s += met_s - at_s
        return met_s

    def record(self, engine: str, iteration: int, batch: Batch, end_s: float) -> IterationRecord:
        """What the run keeps of it."""
        return IterationRecord(
            engine=engine,
            iteration=iteration,
            t_start=self.start_s,
            t_end=end_s,
            requests=len(batch.members),
            tokens=batch.tokens,
            attention_s=batch.times.attention_s,
            ffn_s=batch.times.ffn_s,
            stall_s=self.stall_s,
            wait_s=self.wait_s,
            starved_s=self.starved_s,
        )


class _Rank:
    def __init__(self) -> None:
        self.queue: deque[Member] = deque()
        self.clock = ComputeClock()
        self.starved = Starved()


class PrefillGroup:
    """The iterations of one node's prefill engines.

    Args:
        node: its name.
        cluster: the run.
        execution: traffic of the model.
        record: takes a record for each rank and iteration.
        spawn: runs a coroutine as a task of the process.
    """

    def __init__(
        self,
        node: str,
        cluster: Cluster,
        execution: ModelExecution,
        record: Callable[[IterationRecord], None],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._node, self._cluster = node, cluster
        self._execution, self._record, self._spawn = execution, record, spawn
        self._ranks = [_Rank() for _ in range(cluster.rails)]
        self._groups = cluster.layout.groups(cluster.layers_per_transfer)
        self._changed = asyncio.Event()
        self._iteration = 0

    # --- from outside --------------------------------------------------------------------

    def starved(self, rail: int) -> Starved:
        """Told of reads, this says how long a rank had nothing to do because of them."""
        return self._ranks[rail].starved

    async def prefill(self, passage: Passage) -> None:
        """Have a request computed; returns when its KV has left, and HBM is given back.

        Raises:
            WrongBytes, Abandoned, NodeGone: as `Passage.arrived`; HBM is given back then too.
        """
        member = Member(passage)
        self._ranks[passage.job.prefill.rail].queue.append(member)
        self.wake()
        await member.done

    def wake(self) -> None:
        """Something has changed: a request has come, was abandoned, or has left HBM."""
        self._changed.set()

    async def run(self) -> None:
        """Iterate as long as there is work, for ever."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            while batches := self._form():
                self._iteration += 1
                meeting = Meeting(len(batches))
                await asyncio.gather(*(self._iterate(batch, meeting) for batch in batches))

    # --- batches -------------------------------------------------------------------------

    def _form(self) -> list[Batch]:
        batches = (self._batch(rail, rank) for rail, rank in enumerate(self._ranks))
        return [batch for batch in batches if batch is not None]

    def _batch(self, rail: int, rank: _Rank) -> Batch | None:
        for member in [m for m in rank.queue if m.passage.abandoned is not None]:
            rank.queue.remove(member)
            self._spawn(self._retire(member, member.passage.abandoned))
        taken = self._fitting(rank)
        if not taken:
            return None
        members = []
        for tokens in taken:
            member = rank.queue.popleft()
            chunk = starting_at(member.passage.geometry, member.next_block, tokens)
            member.next_block = chunk.end
            members.append((member, chunk))
        works = [(chunk.context_tokens, chunk.tokens) for _, chunk in members]
        return Batch(rail, members, batch_times(self._cluster.compute, works))

    def _fitting(self, rank: _Rank) -> list[int]:
        """Tokens of each request that the next iteration would compute; they have HBM then."""
        compute, waiting = self._cluster.compute, list(rank.queue)
        return form_batch(
            [member.work for member in waiting],
            quota_s=self._cluster.quota_s,
            unit_tokens=self._cluster.block_tokens,
            attention_s=lambda context, tokens: attention_s(compute, context, tokens),
            admit=lambda number: waiting[number].passage.admit(),
        )

    def _prefetch(self, rank: _Rank) -> None:
        """The next batch's first groups come while the last group of this one is computed.

        Else every iteration would begin with a wait for one group of all its requests, which is
        long where many layers travel together.
        """
        for member, _ in zip(list(rank.queue), self._fitting(rank), strict=False):
            member.passage.prefetch(member.next_block)

    # --- one iteration of one rank ---------------------------------------------------------

    async def _iterate(self, batch: Batch, meeting: Meeting) -> None:
        loop = asyncio.get_running_loop()
        rank = self._ranks[batch.rail]
        spent = _Spent(loop.time(), rank.starved.taken())
        members = list(batch.members)
        for member, chunk in members:
            member.passage.begin(chunk)
        try:
            for group in self._groups:
                await self._compute(batch, members, group, meeting, spent)
                if not members:
                    break
            await self._end(rank, members)
            end_s = max(spent.start_s, rank.clock.free_at_s)
            if members:
                end_s = await spent.meet(meeting, end_s)
        finally:
            meeting.leave(loop.time())
        if not rank.queue:
            rank.starved.begin()
            self._spawn(self._execution.flush(batch.rail))
        self._record(spent.record(f"{self._node}g{batch.rail}", self._iteration, batch, end_s))

    async def _compute(
        self,
        batch: Batch,
        members: list[tuple[Member, Chunk]],
        group: LayerGroup,
        meeting: Meeting,
        spent: _Spent,
    ) -> None:
        """One layer group of a batch; who fails leaves `members`."""
        loop = asyncio.get_running_loop()
        rank = self._ranks[batch.rail]
        free_s = max(spent.start_s, rank.clock.free_at_s)
        ready_s = await self._arrivals(members, group, free_s)
        if not members:
            return
        if group is self._groups[-1]:
            self._prefetch(rank)
        spent.stall_s += ready_s - free_s
        share = group.count / self._cluster.layers
        attended_s = await rank.clock.run(batch.times.attention_s * share, ready_s)
        met_s = await spent.meet(meeting, attended_s)
        asked_s = loop.time()
        await self._execution.layers(batch.rail, batch.tokens, group.count)
        met_s += loop.time() - asked_s
        await rank.clock.run(batch.times.ffn_s * share, met_s)
        for member, _ in members:
            member.passage.finish(group)

    async def _arrivals(
        self, members: list[tuple[Member, Chunk]], group: LayerGroup, free_s: float
    ) -> float:
        """When all KV of a group was there; members that fail leave the iteration."""
        ready_s = free_s
        for member, chunk in list(members):
            try:
                ready_s = max(ready_s, await member.passage.arrived(group, free_s))
            except (Abandoned, NodeGone, WrongBytes) as error:
                members.remove((member, chunk))
                self._spawn(self._retire(member, error))
        return ready_s

    async def _end(self, rank: _Rank, members: list[tuple[Member, Chunk]]) -> None:
        """Whoever is done leaves; whoever is not is the first of the next iteration."""
        leaving = []
        for member, chunk in members:
            if chunk.is_last:
                member.passage.end_s = rank.clock.free_at_s
                leaving.append(self._retire(member, None))
            else:
                rank.queue.appendleft(member)
        if self._cluster.layerwise:
            for retiring in leaving:
                self._spawn(retiring)
        else:
            # HBM is what bounds the next batch, and it is theirs until all layers have left it.
            await asyncio.gather(*leaving)

    async def _retire(self, member: Member, error: Exception | None) -> None:
        await member.passage.close()
        if error is None:
            member.done.set_result(None)
        else:
            member.done.set_exception(error)
        self.wake()
