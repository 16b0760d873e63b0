"""A hit ends at the first block that no storage node has."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import cast

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agents.blocks.hashing import stream_hashes
from agents.control.messages import Lookup, LookupReply, Message
from agents.control.replies import Replies
from agents.process import Process
from agents.scheduler.lookup import StorageLookup, hit_runs
from agents.storage.placement import Placement

NODES = ["st0", "st1", "st2"]
PREFIX = stream_hashes(3, 40)


@given(extent=st.integers(1, 10), length=st.integers(0, 40), missing=st.sets(st.integers(0, 39)))
def test_the_hit_is_the_longest_stored_prefix(extent: int, length: int, missing: set[int]) -> None:
    runs = Placement(NODES, extent).runs(PREFIX[:length])
    stored = {}
    for node in NODES:
        own = [block for run in runs if run.node == node for block in range(*_ends(run))]
        stored[node] = next((n for n, block in enumerate(own) if block in missing), len(own))
    hits = hit_runs(runs, stored)
    blocks = [block for run in hits for block in range(*_ends(run))]
    assert blocks == list(range(min([*missing, length])))[:length]
    whole = {block: run.node for run in runs for block in range(*_ends(run))}
    assert all(whole[block] == run.node for run in hits for block in range(*_ends(run)))


def _ends(run: tuple[str, int, int]) -> tuple[int, int]:
    return run[1], run[1] + run[2]


class Asker:
    """A process that knows storage's answers."""

    def __init__(self, stored: set[int]) -> None:
        self.replies = Replies()
        self.mesh = self
        self.stored = stored
        self.asked: list[str] = []
        self.late = False
        self.lookup = StorageLookup(cast(Process, self), Placement(NODES, 4))

    def send(self, node: str, message: Message) -> None:
        assert isinstance(message, Lookup)
        self.asked.append(node)
        own = np.frombuffer(message.hashes, "<u8").tolist()
        blocks = next((n for n, b in enumerate(own) if b not in self.stored), len(own))
        reply = LookupReply(message.request, blocks)
        asyncio.get_running_loop().call_soon(self.lookup.answered, node, reply)

    def answer(self, kind: str, number: int, message: Message) -> None:
        assert self.replies.resolve(kind, number, message) or self.late


def test_every_node_concerned_is_asked_once_and_requests_do_not_mix() -> None:
    async def ask() -> None:
        asker = Asker(set(PREFIX[:30].tolist()))
        long, short, none = await asyncio.gather(
            asker.lookup.hits(1, PREFIX), asker.lookup.hits(2, PREFIX[:3]),
            asker.lookup.hits(3, PREFIX[:0]),
        )  # fmt: skip
        assert sum(run.blocks for run in long) == 30
        assert all(a.first + a.blocks == b.first for a, b in pairwise(long))
        assert [run.blocks for run in short] == [3]
        assert none == []
        keepers = {run.node for run in Placement(NODES, 4).runs(PREFIX)}
        assert sorted(asker.asked) == sorted([*keepers, short[0].node])

    asyncio.run(ask())


def test_blocks_of_a_lost_node_are_misses_and_others_keep_them_from_then_on() -> None:
    async def ask() -> None:
        asker = Asker(set(PREFIX.tolist()))
        (first, *_) = Placement(NODES, 4).runs(PREFIX)
        waiting = asyncio.ensure_future(asker.lookup.hits(1, PREFIX))
        asker.late = True
        await asyncio.sleep(0)
        asker.replies.lose(first.node)  # before its answer is handled
        assert await waiting == []
        asker.lookup.lose(first.node)
        asker.asked.clear()
        found = await asker.lookup.hits(2, PREFIX)
        assert sum(run.blocks for run in found) == len(PREFIX)
        assert first.node not in asker.asked

    asyncio.run(ask())
