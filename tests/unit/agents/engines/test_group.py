"""Iterations of a prefill group in virtual time: batches, waiting for each other, failing alone."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agents.blocks.layout import KVLayout, LayerGroup
from agents.cluster import Cluster, Compute
from agents.engines.chunks import Chunk
from agents.engines.execution import ModelExecution, NoTraffic
from agents.engines.geometry import Geometry
from agents.engines.group import PrefillGroup
from agents.engines.layers import Abandoned, Passage
from agents.engines.meeting import Meeting
from agents.incoming import WrongBytes
from agents.records import IterationRecord
from tests.unit.agents.engines import virtual

BLOCK = 64
LAYOUT = KVLayout(layers=4, layer_block_bytes=8, block_tokens=BLOCK)
# A token takes 1 ms of attention and 2 ms of FFN, whatever its context.
COMPUTE = Compute(1e-3, 1.0, [(0.0, 1.0), (1e6, 1.0)], 0.0, attention_seconds_per_flop=1e-3)


class FakePassage:
    """KV that is there at once, or after a delay in each group, or never right."""

    def __init__(
        self,
        tokens: int,
        rail: int = 0,
        *,
        late_s: float = 0.0,
        wrong_in: int | None = None,
        room: bool = True,
    ) -> None:
        self.geometry = Geometry(LAYOUT, 1, tokens, 1, 0, 0)
        self.job = SimpleNamespace(prefill=SimpleNamespace(rail=rail))
        self.abandoned: Exception | None = None
        self.late_s, self.wrong_in, self.room = late_s, wrong_in, room
        self.log: list[object] = []
        self.end_s = 0.0

    def admit(self) -> bool:
        return self.room

    def prefetch(self, first: int) -> None:
        self.log.append(("prefetch", first))

    def begin(self, chunk: Chunk) -> None:
        self.log.append((chunk.first, chunk.end))

    async def arrived(self, group: LayerGroup, could_start_s: float) -> float:
        if group.index == self.wrong_in:
            raise WrongBytes("a bit")
        if self.abandoned is not None:
            raise self.abandoned
        if not self.late_s:
            return 0.0
        await asyncio.sleep(self.late_s)
        return asyncio.get_running_loop().time()

    def finish(self, group: LayerGroup) -> None:
        self.log.append(group.index)

    async def close(self) -> None:
        self.log.append("closed")


class Scene:
    """A group of two ranks, its records, and its tasks."""

    def __init__(
        self, quota_s: float = 1e9, execution: ModelExecution | None = None, layerwise: bool = True
    ) -> None:
        cluster = SimpleNamespace(
            rails=2,
            layers=4,
            layers_per_transfer=1,
            layout=LAYOUT,
            block_tokens=BLOCK,
            quota_s=quota_s,
            compute=COMPUTE,
            layerwise=layerwise,
        )
        self.records: list[IterationRecord] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.group = PrefillGroup(
            "pe0",
            cast(Cluster, cluster),
            execution or NoTraffic(),
            self.records.append,
            self._spawn,
        )
        self._spawn(self.group.run())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(work))

    def prefill(self, passage: FakePassage) -> asyncio.Task[None]:
        return asyncio.ensure_future(self.group.prefill(cast(Passage, passage)))


def test_ranks_wait_for_each_other_before_ffn() -> None:
    async def scene() -> list[IterationRecord]:
        made = Scene()
        await asyncio.gather(made.prefill(FakePassage(100, 0)), made.prefill(FakePassage(300, 1)))
        return made.records

    short, long = sorted(virtual.run(scene()), key=lambda record: record.tokens)
    assert (short.engine, long.engine) == ("pe0g0", "pe0g1")
    assert long.t_end - long.t_start == pytest.approx(0.3 + 0.6)
    assert long.wait_s == pytest.approx(0)
    # A layer of the long one: 75 ms of attention, 150 ms of FFN.  The short one is there 50 ms
    # earlier at first, 100 ms earlier still after each FFN, and 100 ms earlier at the end.
    assert short.wait_s == pytest.approx(0.05 + 3 * 0.15 + 0.1)
    for record in (short, long):
        parts = record.attention_s + record.ffn_s + record.stall_s + record.wait_s
        assert record.t_end - record.t_start == pytest.approx(parts)


def test_a_rank_without_work_holds_nobody_up() -> None:
    async def scene() -> float:
        made = Scene()
        await made.prefill(FakePassage(100))
        return asyncio.get_running_loop().time()

    assert virtual.run(scene()) == pytest.approx(0.3)


def test_waiting_for_bytes_is_a_stall() -> None:
    async def scene() -> IterationRecord:
        made = Scene()
        await made.prefill(FakePassage(100, late_s=0.1))
        return made.records[0]

    record = virtual.run(scene())
    assert record.stall_s == pytest.approx(0.4)
    assert record.t_end - record.t_start == pytest.approx(0.7)


def test_a_request_is_cut_at_the_quota_and_goes_on_first() -> None:
    first, second = FakePassage(200), FakePassage(100)

    async def scene() -> list[IterationRecord]:
        made = Scene(quota_s=0.15)  # 150 tokens: two blocks of the first
        await asyncio.gather(made.prefill(first), made.prefill(second))
        return made.records

    records = virtual.run(scene())
    # 128, then 72 and one block of the second request, then its last 36.
    assert [record.tokens for record in records] == [128, 72 + 64, 36]
    assert [record.requests for record in records] == [1, 2, 1]
    assert [entry for entry in first.log if isinstance(entry, tuple)] == [(0, 2), (2, 4)]
    assert first.log.count("closed") == second.log.count("closed") == 1


def test_the_next_batch_begins_to_load_under_the_last_group() -> None:
    first, second = FakePassage(128), FakePassage(128)

    async def scene() -> None:
        made = Scene(quota_s=0.128)
        await asyncio.gather(made.prefill(first), made.prefill(second))

    virtual.run(scene())
    assert second.log[:2] == [("prefetch", 0), (0, 2)]
    assert ("prefetch", 0) not in first.log


def test_a_wrong_byte_fails_one_request_and_no_other() -> None:
    good, bad = FakePassage(100), FakePassage(100, wrong_in=2)

    async def scene() -> float:
        made = Scene()
        done = await asyncio.gather(made.prefill(good), made.prefill(bad), return_exceptions=True)
        assert done[0] is None
        assert isinstance(done[1], WrongBytes)
        return asyncio.get_running_loop().time()

    virtual.run(scene())
    assert good.log[-5:] == [0, 1, 2, 3, "closed"]
    assert bad.log[-3:] == [0, 1, "closed"]


def test_a_rank_whose_requests_all_fail_holds_nobody_up() -> None:
    async def scene() -> float:
        made = Scene()
        bad = made.prefill(FakePassage(500, rail=0, wrong_in=1))
        await made.prefill(FakePassage(100, rail=1))
        with pytest.raises(WrongBytes):
            await bad
        return asyncio.get_running_loop().time()

    # The other rank is there after the FFN of its first layer, and leaves; then this one is alone.
    assert virtual.run(scene()) == pytest.approx(0.125 + 0.25 + 0.05 + 2 * 0.075)


def test_what_is_abandoned_in_the_queue_leaves_it() -> None:
    async def scene() -> None:
        made = Scene()
        passage = FakePassage(100, room=False)  # it would wait for HBM for ever
        waiting = made.prefill(passage)
        await asyncio.sleep(1)
        assert not waiting.done()
        passage.abandoned = Abandoned("the other side")
        made.group.wake()
        with pytest.raises(Abandoned):
            await waiting

    virtual.run(scene())


def test_traffic_of_the_model_is_between_attention_and_ffn() -> None:
    asked: list[tuple[int, int, int, float]] = []
    rested: list[tuple[int, int]] = []

    class Slow:
        async def layers(self, rank: int, tokens: int, layers: int) -> None:
            asked.append((rank, tokens, layers, asyncio.get_running_loop().time()))
            await asyncio.sleep(0.01)

        async def flush(self, rank: int) -> None:
            rested.append((rank, len(asked)))

    async def scene() -> float:
        made = Scene(execution=Slow())
        await made.prefill(FakePassage(100))
        return asyncio.get_running_loop().time()

    assert virtual.run(scene()) == pytest.approx(0.34)
    assert rested == [(0, 4)]  # once the engine has nothing more to do
    assert [entry[:3] for entry in asked] == [(0, 100, 1)] * 4
    assert asked[0][3] == pytest.approx(0.025)


def test_reads_that_leave_an_engine_without_work_are_counted() -> None:
    async def scene() -> IterationRecord:
        made = Scene()
        starved = made.group.starved(0)
        starved.reading()
        await asyncio.sleep(2.0)
        starved.read(ready=True)
        await made.prefill(FakePassage(100))
        return made.records[0]

    assert virtual.run(scene()).starved_s == pytest.approx(2.0)


def test_without_layerwise_prefill_the_next_batch_waits_for_hbm() -> None:
    class Slow(FakePassage):
        async def close(self) -> None:
            await asyncio.sleep(5.0)

    async def scene() -> list[float]:
        made = Scene(quota_s=0.128, layerwise=False)
        await asyncio.gather(made.prefill(Slow(128)), made.prefill(FakePassage(128)))
        return [record.t_start for record in made.records]

    assert virtual.run(scene()) == pytest.approx([0.0, 0.384 + 5.0])


def test_a_meeting_ends_with_the_latest_of_those_who_still_come() -> None:
    async def scene() -> None:
        meeting = Meeting(3)
        first, second = (asyncio.ensure_future(meeting.arrive(at)) for at in (1.0, 4.0))
        await asyncio.sleep(0)
        assert not first.done()
        meeting.leave(3.0)
        assert (await first, await second) == (4.0, 4.0)
        again = [asyncio.ensure_future(meeting.arrive(at)) for at in (7.0, 6.0)]
        assert await asyncio.gather(*again) == [7.0, 7.0]

    virtual.run(scene())
