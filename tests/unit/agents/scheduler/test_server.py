"""The scheduler as its peers see it: messages in, messages out; storage has what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from agents.blocks.hashing import stream_hashes
from agents.cluster import Buffers, Cluster
from agents.control.messages import Assign, Done, Lookup, LookupReply, Message, ReadFinished, Submit
from agents.engines.geometry import Geometry
from agents.read_path import Segment
from agents.records import AnyRecord, EventRecord
from agents.scheduler.server import Scheduler
from tests.unit.agents.clusters import small_cluster

BLOCK = 64
LARGE = Buffers(1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20)


class Peers:
    """Everybody else: keeps what the scheduler sends; storage has the first blocks."""

    def __init__(self, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch) -> None:
        self.scheduler = scheduler
        self.sent: list[Message] = []
        self.stored = 1000
        self.recorded: list[AnyRecord] = []
        monkeypatch.setattr(scheduler.mesh, "send", self._hear)
        monkeypatch.setattr(scheduler.records, "append", self.recorded.append)

    def _hear(self, peer: str, message: Message) -> None:
        if isinstance(message, Lookup):
            reply = LookupReply(message.request, min(self.stored, len(message.hashes) // 8))
            asyncio.get_running_loop().call_soon(self.scheduler.handle, peer, reply)
        else:
            self.sent.append(message)

    async def tell(self, sender: str, message: Message) -> Message:
        """Hand a message over; what is sent because of it."""
        before = len(self.sent)
        self.scheduler.handle(sender, message)
        async with asyncio.timeout(5):
            while len(self.sent) == before:
                await asyncio.sleep(0)
        (answer,) = self.sent[before:]
        return answer

    async def submit(self, request: int, prompt_tokens: int, generate_tokens: int = 1) -> Message:
        hashes = stream_hashes(request, 20).tobytes()
        turn = Submit(request, 0, "s", 0, prompt_tokens, generate_tokens, hashes, 0.0)
        return await self.tell("client", turn)

    def events(self) -> list[str]:
        return [record.kind for record in self.recorded if isinstance(record, EventRecord)]


def with_scheduler(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    work: Callable[[Peers], Awaitable[None]],
    buffers: Buffers = LARGE,
) -> None:
    """A scheduler that places at once, without a network."""
    cluster = cluster_of(tmp_path)
    scheduling = msgspec.structs.replace(cluster.scheduling, placement="least-tokens", attempts=3)
    cluster = msgspec.structs.replace(cluster, scheduling=scheduling, buffers=buffers)

    async def live() -> None:
        scheduler = Scheduler("sched", cluster)
        try:
            await work(Peers(scheduler, monkeypatch))
        finally:
            scheduler.records.close()

    asyncio.run(live())


def cluster_of(tmp_path: Path) -> Cluster:
    """The small cluster, with a scheduler and a client."""
    names = ("sched", "client", "pe0", "de0", "st0")
    return msgspec.structs.replace(
        small_cluster(tmp_path), control=dict.fromkeys(names, "127.0.0.1")
    )


@pytest.mark.parametrize(
    ("prompt_tokens", "hits"), [(1, 0), (BLOCK, 0), (BLOCK + 1, 1), (3 * BLOCK, 2), (200, 3)]
)
def test_at_least_one_token_is_left_to_prefill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prompt_tokens: int, hits: int
) -> None:
    async def work(peers: Peers) -> None:
        job = await peers.submit(7, prompt_tokens)
        assert isinstance(job, Assign)
        assert job.segments == ([Segment("pe", "st0", 0, hits)] if hits else [])

    with_scheduler(tmp_path, monkeypatch, work)


def test_what_fills_an_engines_hbm_is_served_and_a_byte_more_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = Geometry(small_cluster(tmp_path).layout, 1, 5 * BLOCK, 10, 0, 0).hbm_bytes

    async def served(peers: Peers) -> None:
        assert isinstance(await peers.submit(7, 5 * BLOCK, 10), Assign)
        assert peers.events() == []

    async def rejected(peers: Peers) -> None:
        done = await peers.submit(7, 5 * BLOCK, 10)
        assert isinstance(done, Done)
        assert "more than the" in done.error and "decode engine" in done.error
        assert peers.events() == ["request-rejected"]
        assert isinstance(await peers.submit(8, BLOCK), Assign)  # nobody waits behind it

    room = msgspec.structs.replace(LARGE, hbm=needed)
    with_scheduler(tmp_path, monkeypatch, served, room)
    room = msgspec.structs.replace(room, hbm=needed - 1)
    with_scheduler(tmp_path, monkeypatch, rejected, room)


def test_a_read_that_failed_is_tried_on_the_other_side_and_the_last_try_reads_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(peers: Peers) -> None:
        first = await peers.submit(7, 3 * BLOCK)
        assert isinstance(first, Assign)
        failed = Done(first.request, error="gone", retry="reread", failed_side="pe")
        second = await peers.tell("de0", failed)
        assert isinstance(second, Assign)
        assert (first.path, second.path) == ("pe", "de")
        assert second.request != first.request
        third = await peers.tell(
            "de0", Done(second.request, error="gone", retry="reread", failed_side="de")
        )
        assert isinstance(third, Assign)
        assert third.segments == []
        answer = await peers.tell("de0", Done(third.request))
        assert isinstance(answer, Done)
        assert (answer.request, answer.error, answer.attempts) == (7, "", 3)
        assert answer.served_as == third.request
        assert peers.events() == ["request-retried", "read-elsewhere", "request-retried"]

    with_scheduler(tmp_path, monkeypatch, work)


def test_if_less_is_stored_than_when_a_read_failed_the_same_side_may_read_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks that have gone are why it failed, not the side."""

    async def work(peers: Peers) -> None:
        first = await peers.submit(7, 3 * BLOCK)
        assert isinstance(first, Assign)
        peers.stored = 1
        failed = Done(first.request, error="gone", retry="reread", failed_side="pe")
        second = await peers.tell("de0", failed)
        assert isinstance(second, Assign)
        assert second.segments == [Segment("pe", "st0", 0, 1)]
        assert peers.events() == ["request-retried"]

    with_scheduler(tmp_path, monkeypatch, work)


def test_reads_are_in_the_queue_of_the_node_that_makes_them_until_they_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(peers: Peers) -> None:
        job = await peers.submit(7, 3 * BLOCK)
        assert isinstance(job, Assign)
        placement = peers.scheduler._placement
        assert placement.read_queue("pe0") == (2 * BLOCK, 1)
        assert placement.read_queue("de0") == (0, 0)
        peers.scheduler.handle("pe0", ReadFinished("pe0", job.request))
        assert placement.read_queue("pe0") == (0, 0)

    with_scheduler(tmp_path, monkeypatch, work)


def test_a_defect_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(peers: Peers) -> None:
        job = await peers.submit(7, 3 * BLOCK)
        assert isinstance(job, Assign)
        answer = await peers.tell("de0", Done(job.request, error="wrong bytes"))
        assert isinstance(answer, Done)
        assert (answer.request, answer.error, answer.attempts) == (7, "wrong bytes", 1)

    with_scheduler(tmp_path, monkeypatch, work)
