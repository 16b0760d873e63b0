"""A request on its way through HBM: slots, chunks, what is loaded again, and wrong bytes."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from agents.blocks.arena import Arena
from agents.blocks.generate import check_group, fill_group
from agents.blocks.generated import GeneratedKV
from agents.blocks.hashing import stream_hashes
from agents.blocks.layout import LayerGroup
from agents.blocks.maker import Prompt
from agents.control.messages import Assign, Engine
from agents.engines import layers
from agents.engines.chunks import Chunk, whole
from agents.engines.geometry import Geometry
from agents.engines.layers import Passage
from agents.engines.node import Node
from agents.incoming import WrongBytes
from agents.read_path import Segment
from agents.wire.immediates import Kind
from agents.wire.transfers import Transfer
from agents.wire.transport import Sent
from tests.unit.agents.engines.bare_node import LAYOUT, BareNode

HITS, MISSES = 1, 4
HASHES = stream_hashes(5, HITS + MISSES)
JOB = Assign(
    7,
    [Segment("de", "st0", 0, HITS)],
    (HITS + MISSES) * 64,
    1,
    HASHES.tobytes(),
    Engine("pe0", 0),
    Engine("de0", 0),
    0.0,
    0.0,
    target_key=3,
    target_offset=640,
)
GEOMETRY = Geometry(LAYOUT, 1, JOB.prompt_tokens, 1, HITS, 0)
HIT_BYTES = HITS * LAYOUT.layer_block_bytes


class Engines(BareNode):
    """A prefill node: what it posts has left when the test says so.

    Args:
        slots: layer groups that HBM holds of a request.
        layerwise: prefill is; else `slots` is all groups.
    """

    def __init__(self, slots: int = 2, *, layerwise: bool = True, leave: bool = True) -> None:
        super().__init__("pe0")
        self.cluster.slots, self.cluster.layerwise, self.cluster.moves_kv = slots, layerwise, True
        self.maker = GeneratedKV(LAYOUT)
        self.hbm = [Arena(1 << 16, "HBM")]
        self.leaving: list[asyncio.Future[Sent | None]] = []
        self.leave = leave

    def prompt(self, job: Assign) -> Prompt:
        return Prompt(HASHES, job.prompt_tokens, job.generate_tokens, HITS, b"")

    def _post(self, pair: str, transfer: Transfer) -> asyncio.Future[Sent | None]:
        if self.leave:
            return super()._post(pair, transfer)
        self.posted.append((pair, transfer))
        self.leaving.append(asyncio.get_running_loop().create_future())
        return self.leaving[-1]


class Blocks:
    """Brings blocks of the prompt into HBM: right ones, or wrong."""

    def __init__(self, node: Engines, first: int, count: int, *, wrong: bool = False) -> None:
        self.node, self.first, self.count, self.wrong = node, first, count, wrong
        self.loaded: list[int] = []

    async def load(self, group: LayerGroup, offset: int) -> None:
        self.loaded.append(group.index)
        size = self.count * LAYOUT.layer_block_bytes
        memory = self.node.hbm[0].memory[offset : offset + size]
        names = HASHES[self.first : self.first + self.count]
        fill_group(LAYOUT, names, group.first, group.count, 64, memory)
        if self.wrong:
            memory[size - 1] ^= 1


def passage_of(node: Engines, *sources: Blocks) -> Passage:
    passage = Passage(cast(Node, node), JOB, GEOMETRY, sources)
    assert passage.admit()
    return passage


async def iterate(passage: Passage, chunk: Chunk) -> None:
    passage.begin(chunk)
    for group in GEOMETRY.groups():
        await passage.arrived(group, 0.0)
        passage.finish(group)


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_what_is_computed_returns_to_its_place_in_the_de_buffer() -> None:
    async def scene() -> None:
        node = Engines()
        passage = passage_of(node, Blocks(node, 0, HITS))
        await iterate(passage, whole(GEOMETRY))
        for (_, transfer), group in zip(node.posted, GEOMETRY.groups(), strict=True):
            assert (transfer.kind, transfer.part) == (Kind.KV_RETURN, group.index)
            place = 640 + GEOMETRY.returned_to_buffer(group).offset
            assert (transfer.key, transfer.offset, transfer.digest) == (3, place, True)
            (fresh,) = transfer.sources
            assert isinstance(fresh, memoryview)
            assert check_group(LAYOUT, HASHES[HITS:], group.first, group.count, 64, fresh) is None
        assert passage.verified_bytes == 2 * HIT_BYTES
        assert (passage.groups_returned, passage.chunk_groups_returned) == (2, 0)
        assert passage.reloaded_bytes == 0
        await passage.close()
        assert node.hbm[0].used_bytes == 0

    asyncio.run(scene())


def test_a_later_chunk_loads_again_what_is_before_it_once_that_has_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    landed: list[int] = []

    def earlier(node: Engines, job: Assign, chunk: Chunk, count: int) -> Blocks:
        landed.append(count)
        found = Blocks(node, HITS, chunk.first)
        load = found.load
        found.load = lambda group, at: load(group, at + HIT_BYTES)  # type: ignore[method-assign]
        return found

    monkeypatch.setattr(layers, "EarlierChunks", earlier)

    async def scene() -> None:
        node = Engines()
        hits = Blocks(node, 0, HITS)
        passage = passage_of(node, hits)
        await iterate(passage, Chunk(GEOMETRY, 0, 3))
        assert passage.reloaded_bytes == 0
        await iterate(passage, Chunk(GEOMETRY, 3, MISSES))
        assert hits.loaded == [0, 1, 0, 1]
        assert landed == [1, 2]  # of the chunk before, up to and with this group
        assert passage.reloaded_bytes == 2 * (HIT_BYTES + 3 * LAYOUT.layer_block_bytes)
        kinds = [transfer.kind for _, transfer in node.posted]
        assert kinds == [Kind.CHUNK_RETURN] * 2 + [Kind.KV_RETURN] * 2
        assert (passage.groups_returned, passage.chunk_groups_returned) == (2, 2)

    asyncio.run(scene())


def test_without_layerwise_prefill_nothing_is_loaded_twice() -> None:
    async def scene() -> None:
        node = Engines(slots=2, layerwise=False)
        hits = Blocks(node, 0, HITS)
        passage = passage_of(node, hits)
        await iterate(passage, Chunk(GEOMETRY, 0, 3))
        await iterate(passage, Chunk(GEOMETRY, 3, MISSES))
        assert hits.loaded == [0, 1]
        assert passage.reloaded_bytes == 0

    asyncio.run(scene())


def test_a_slot_is_used_again_when_its_bytes_have_left() -> None:
    async def scene() -> None:
        node = Engines(slots=1, leave=False)
        hits = Blocks(node, 0, HITS)
        passage = passage_of(node, hits)
        first, second = GEOMETRY.groups()
        passage.begin(whole(GEOMETRY))
        await passage.arrived(first, 0.0)
        passage.finish(first)
        await settled()
        assert hits.loaded == [0]
        node.leaving[0].set_result(None)
        await passage.arrived(second, 0.0)
        assert hits.loaded == [0, 1]
        passage.finish(second)
        closing = asyncio.ensure_future(passage.close())
        await settled()
        assert not closing.done()  # the last bytes are still in HBM
        node.leaving[1].set_result(None)
        await closing
        assert node.hbm[0].used_bytes == 0

    asyncio.run(scene())


def test_nothing_is_computed_from_wrong_bytes() -> None:
    async def scene() -> None:
        node = Engines()
        passage = passage_of(node, Blocks(node, 0, HITS, wrong=True))
        passage.begin(whole(GEOMETRY))
        with pytest.raises(WrongBytes, match="HBM of pe0g0"):
            await passage.arrived(GEOMETRY.groups()[0], 0.0)
        assert ("wrong-bytes", 7) in node.events
        assert node.posted == []
        await passage.close()

    asyncio.run(scene())
