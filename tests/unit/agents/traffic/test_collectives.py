"""All-to-all and all-reduce over queue pairs in memory: bytes, places, and that they always end."""

from __future__ import annotations

import asyncio
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from agents.traffic.sizes import spread
from agents.wire.immediates import Kind
from tests.unit.agents.traffic.conftest import Network, dense, moe

HEAD_BYTES = 8
TOKENS = 64


async def ran(network: Network, seed: int, *calls: tuple[int, int, int, int]) -> Network:
    """(node, rail, tokens, layers) at once, delivered in an order that the seed gives."""
    await network.meet()
    work = (network.nodes[n].layers(rail, tokens, count) for n, rail, tokens, count in calls)
    await network.run(random.Random(seed).choice, *work)
    return network


def carried(network: Network, *kinds: Kind) -> int:
    return sum(size for (_, kind), size in network.carried.items() if kind in kinds)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 3), st.booleans(), st.sampled_from(["expert", "node"]),
    st.integers(0, 2**16), st.data(),
)  # fmt: skip
def test_any_engines_may_have_tokens_and_every_collective_ends(
    nodes: int, rails: int, nvlink: bool, copies: str, seed: int, data: st.DataObject
) -> None:
    execution = moe(nvlink=nvlink, copies=copies)
    engines = [(n, r) for n in range(nodes) for r in range(rails)]
    begun = data.draw(st.lists(st.sampled_from(engines), unique=True))
    calls = [(n, r, data.draw(st.integers(0, 200)), 1) for n, r in begun]
    network = asyncio.run(ran(Network(nodes, rails, execution), seed, *calls))
    busy = [tokens for _, _, tokens, _ in calls if tokens]
    assert len(network.records) == len(busy)
    assert all(not node._exchange._relayed for node in network.nodes)  # nothing is left over
    to_node, to_gpu = spread(execution, nodes, rails)
    each = (nodes - 1) * to_node + (rails - 1) * to_gpu * nvlink
    sent = carried(network, Kind.DISPATCH)
    assert abs(sent - sum(busy) * 10 * each) <= len(busy) * (nodes + rails)  # whole bytes


def test_an_all_to_all_goes_by_same_rails_and_inside_nodes_by_nvlink_only() -> None:
    # 2 nodes of 2 GPUs, all with tokens: a quarter of the copies is for each engine
    calls = [(n, r, TOKENS, 1) for n in (0, 1) for r in (0, 1)]
    network = asyncio.run(ran(Network(2, 2, moe()), 1, *calls))
    copies = TOKENS * 8 * 4  # of all engines
    assert network.carried["cnic", Kind.DISPATCH] == copies // 2 * 10
    assert network.carried["nvlink", Kind.DISPATCH] == copies // 4 * 10
    assert network.carried["nvlink", Kind.FORWARD] == copies // 4 * 10
    heads = 4 * HEAD_BYTES
    assert network.carried["cnic", Kind.COMBINE] == copies // 2 * 20 + heads
    assert network.carried["nvlink", Kind.COMBINE] == copies // 4 * 20 + heads
    assert network.carried["nvlink", Kind.GATHER] == copies // 4 * 20 + heads
    assert carried(network, *Kind) == sum(network.carried.values())


def test_an_engine_without_tokens_sends_nothing_of_its_own() -> None:
    network = asyncio.run(ran(Network(2, 1, moe()), 1, (0, 0, 0, 1), (1, 0, 5, 1)))
    assert [record.engine for record in network.records] == ["de1g0"]
    assert network.carried["cnic", Kind.DISPATCH] == 5 * 8 * 10 / 2


def test_experts_of_a_node_send_nothing_over_cnics() -> None:
    execution = moe(ep_domain="node")
    network = asyncio.run(ran(Network(3, 2, execution), 1, (0, 0, TOKENS, 1)))
    assert {kind for kind, _ in network.carried} == {"nvlink"}


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.lists(st.integers(1, 20), min_size=1, max_size=12))
def test_fusing_keeps_bytes(fused: int, steps: list[int]) -> None:
    async def total(fused: int) -> int:
        network = Network(
            2, 1, moe(dispatch_bytes=0.3, combine_bytes=0.0, fused_layers={"decode": fused})
        )
        await network.meet()
        for tokens in steps:
            await network.run(lambda names: names[0], network.nodes[0].layers(0, tokens, 7))
        await network.run(lambda names: names[0], network.nodes[0].flush(0))
        return carried(network, Kind.DISPATCH)

    exact = sum(steps) * 7 * 8 / 2 * 0.3
    assert abs(asyncio.run(total(fused)) - exact) <= 1  # what is left over is carried
    assert abs(asyncio.run(total(1)) - exact) <= 1


def test_a_large_exchange_is_cut_to_its_landing_place() -> None:
    execution = moe(fused_layers={"decode": 2})
    network = asyncio.run(ran(Network(2, 1, execution), 1, (0, 0, 50_000, 2)))
    assert network.carried["cnic", Kind.DISPATCH] == 50_000 * 2 * 8 * 10 // 2
    (record,) = network.records
    assert record.size_bytes > 1 << 22


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 5), st.integers(0, 2**16), st.integers(1, 2000))
def test_a_ring_sends_twice_the_tensor_less_a_share(rails: int, seed: int, tokens: int) -> None:
    calls = [(0, rail, tokens, 3) for rail in range(rails)]
    network = asyncio.run(ran(Network(2, rails, dense(fused_layers={"decode": 3})), seed, *calls))
    tensor = tokens * 3 * 2 * 16  # two all-reduces a layer
    least = 2 * (rails - 1) * tensor * rails
    assert least <= network.carried["nvlink", Kind.REDUCE] <= least + 2 * rails**4
    assert {kind for kind, _ in network.carried} == {"nvlink"}
    assert {record.kind for record in network.records} == {"all-reduce"}


def test_collectives_of_one_engine_follow_each_other() -> None:
    calls = [(0, 0, 5, 1), (0, 0, 7, 1), (0, 0, 9, 1)]
    network = asyncio.run(ran(Network(2, 1, moe()), 1, *calls))
    first, second, third = sorted(network.records, key=lambda record: record.t_start)
    assert [record.tokens for record in (first, second, third)] == [5, 7, 9]
    assert first.t_end <= second.t_start <= second.t_end <= third.t_start


def test_a_collective_whose_engine_has_given_up_still_ends() -> None:
    async def given_up() -> None:
        network = Network(2, 1, moe())
        await network.meet()
        first = asyncio.ensure_future(network.nodes[0].layers(0, 5, 1))
        while not any(network.posted.values()):
            await asyncio.sleep(0)
        first.cancel()
        await network.run(lambda names: names[0], network.nodes[0].layers(0, 7, 1))
        assert first.cancelled()
        assert [record.tokens for record in network.records] == [5, 7]

    asyncio.run(given_up())


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 4), st.integers(1, 2), st.integers(0, 30), st.integers(0, 2**16))
def test_a_lost_member_hangs_nobody(nodes: int, rails: int, before: int, seed: int) -> None:
    """All engines begin; after some messages the first node is lost, and what it sent with it."""

    async def scene() -> None:
        network = Network(nodes, rails, moe())
        choose = random.Random(seed).choice
        await network.meet()
        kept = [(n, r) for n in range(1, nodes) for r in range(rails)]
        lost = [asyncio.ensure_future(network.nodes[0].layers(r, 9, 1)) for r in range(rails)]
        work = [asyncio.ensure_future(network.nodes[n].layers(r, 9, 1)) for n, r in kept]
        await network._settle()
        for _ in range(before):
            if any(network.posted.values()):
                network.deliver(choose)
                await network._settle()
        network.lose("de0")
        again = (network.nodes[n].layers(r, 5, 1) for n, r in kept)
        await network.run(choose, *work, *again)
        later = [r for r in network.records if r.tokens == 5]
        assert len(later) == len(kept)
        for task in lost:
            task.cancel()

    asyncio.run(scene())
