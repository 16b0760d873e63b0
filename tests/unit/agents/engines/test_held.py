"""A prompt in the DE buffer: what leaves on credit is counted, and when the buffer is quiet."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from agents.blocks.arena import Arena
from agents.blocks.hashing import stream_hashes
from agents.control.messages import Assign, Credit, Engine
from agents.engines.geometry import Geometry
from agents.engines.held import Held, PrefillFailed
from agents.engines.node import Node
from agents.loss import NodeGone
from agents.read_path import Segment
from agents.wire.immediates import Kind
from tests.unit.agents.engines.bare_node import LAYOUT, BareNode

HITS, MISSES = 3, 2
JOB = Assign(
    7,
    [Segment("de", "st0", 0, HITS)],
    (HITS + MISSES) * 64,
    1,
    stream_hashes(5, HITS + MISSES).tobytes(),
    Engine("pe0", 0),
    Engine("de0", 0),
    0.0,
    0.0,
)
GEOMETRY = Geometry(LAYOUT, 1, JOB.prompt_tokens, 1, HITS, 0)


def held_by(node: BareNode) -> Held:
    buffer = Arena(1 << 16, "DE buffer").try_allocate(GEOMETRY.prompt_bytes)
    assert buffer is not None
    return Held(cast(Node, node), JOB, GEOMETRY, buffer, 0.0)


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_each_side_is_told_how_many_groups_the_other_will_get() -> None:
    async def scene() -> None:
        node = BareNode()
        held = held_by(node)
        held.credit(Credit(7, 0, key=9, offset=100))
        held.credit(Credit(7, 1, key=9, offset=200))
        held.credit(Credit(7, 0, key=9, offset=300, miss_blocks=1, landed=1))
        told = held.give_up("a reason")
        assert (told.groups, told.chunk_groups, told.reason) == (2, 1, "a reason")
        await settled()
        fetched = [(t.kind, t.part, t.key, t.offset) for _, t in node.posted]
        assert fetched == [(Kind.LAYER_FETCH, 0, 9, 100), (Kind.LAYER_FETCH, 1, 9, 200)]
        node.ports.incoming.count(7, Kind.CHUNK_RETURN)  # what the chunk before it computed
        await settled()
        _, earlier = node.posted[-1]
        assert (earlier.kind, earlier.part, earlier.offset) == (Kind.CHUNK_FETCH, 0, 300)
        assert [source.nbytes for source in earlier.sources] == [LAYOUT.layer_block_bytes]  # type: ignore[union-attr]

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("first", "second"),
    [(Kind.CHUNK_RETURN, Kind.KV_RETURN), (Kind.KV_RETURN, Kind.CHUNK_RETURN)],
)
def test_a_buffer_is_quiet_when_all_has_landed_that_prefill_says_it_has_sent(
    first: Kind, second: Kind
) -> None:
    async def scene() -> None:
        node = BareNode()
        held = held_by(node)
        failed = PrefillFailed("it has", chunk_groups=1)
        node.ports.incoming.end(7, Kind.KV_RETURN, 1, failed)
        node.replies.fail("prefill-done", 7, failed)
        quiet = asyncio.ensure_future(held.quiet())
        await settled()
        assert not quiet.done()
        node.ports.incoming.count(7, first)
        await settled()
        assert not quiet.done()  # a group of the other kind is still on its way
        node.ports.incoming.count(7, second)
        await settled()
        assert quiet.done() and quiet.exception() is None

    asyncio.run(scene())


def test_nothing_comes_of_a_prefill_node_that_is_lost() -> None:
    async def scene() -> None:
        node = BareNode()
        held = held_by(node)
        quiet = asyncio.ensure_future(held.quiet())
        await settled()
        assert not quiet.done()
        node.ports.incoming.lose("pe0")
        node.replies.fail("prefill-done", 7, NodeGone("pe0"))
        await asyncio.wait_for(quiet, 5)

    asyncio.run(scene())
