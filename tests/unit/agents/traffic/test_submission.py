"""What submitting costs, and that transfers wait for it in order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.ports import Ports
from agents.traffic.submission import SubmissionClock, SubmissionCosts, Submitter, submitter
from agents.wire.immediates import Kind
from agents.wire.pair_names import pair_name
from agents.wire.transfers import Transfer
from agents.wire.transport import WriteRequest

COSTS = SubmissionCosts(rdma_s=1e-6, copy_s=6e-6)


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 100)), max_size=20))
def test_one_thread_submits_in_the_order_of_asking(asked: list[tuple[float, int]]) -> None:
    clock, who = SubmissionClock(), Submitter("pe0g0", 1e-3)
    last_s = now_s = 0.0
    for gap_s, blocks in asked:
        now_s += gap_s
        done_s = clock.submit(who, now_s, blocks)
        assert done_s == pytest.approx(max(now_s, last_s) + blocks * 1e-3)
        last_s = done_s
    assert clock.busy_s == pytest.approx(sum(blocks for _, blocks in asked) * 1e-3)


def test_engines_do_not_wait_for_each_other() -> None:
    clock = SubmissionClock()
    clock.submit(Submitter("pe0g0", 1.0), 0.0, 5)
    assert clock.submit(Submitter("pe0g1", 1.0), 0.0, 1) == 1.0


@pytest.mark.parametrize(
    ("pair", "engine", "block_s"),
    [
        (pair_name("pe0g3", "pe0", "cnic3", "called"), "pe0g3", 1e-6),  # PE buffer -> HBM
        (pair_name("pe0g3", "pe0", "pcie3", "called"), "pe0g3", 6e-6),  # by PCIe
        (pair_name("pe0g3", "de1", "cnic5", "caller"), "pe0g3", 1e-6),  # KV returns
        (pair_name("pe0g3", "de1", "cnic5", "called"), "de1g5", 1e-6),  # DE buffer -> HBM
    ],
)
def test_the_engine_on_this_side_submits(pair: str, engine: str, block_s: float) -> None:
    assert submitter(pair, COSTS) == Submitter(engine, block_s)


def test_storage_is_not_charged() -> None:
    assert submitter(pair_name("pe0", "st0", "snic0", "caller"), COSTS) is None


class Posted:
    """A queue pair that notes when it is posted to."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.peer = ""
        self.posts: list[tuple[int, float]] = []
        self.all = loop.create_future()
        self._loop = loop

    def post(self, batch: list[WriteRequest]) -> None:
        self.posts.append((batch[0].request, self._loop.time()))
        if len(self.posts) == 5:
            self.all.set_result(None)


def test_transfers_are_posted_in_order_and_not_before_they_have_been_submitted() -> None:
    async def posted() -> None:
        loop = asyncio.get_running_loop()
        process: Any = None  # nothing arrives
        ports = Ports(process, 1 << 16, submission=SubmissionCosts(1e-3, 0.0))
        pair = Posted(loop)
        name = pair_name("pe0g0", "de0", "cnic0", "caller")
        ports.adopted(name, pair)
        began_s = loop.time()
        for number in range(5):
            source = [memoryview(b"kv")]
            ports.post(name, Transfer(Kind.KV_RETURN, number, 0, source, 0, 0, blocks=2))
        assert pair.posts == []
        await pair.all
        assert [number for number, _ in pair.posts] == list(range(5))
        resolution_s = 1e-6
        for number, at_s in pair.posts:
            assert at_s >= began_s + (number + 1) * 2e-3 - resolution_s
        ports.close()

    asyncio.run(posted())
