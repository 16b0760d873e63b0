"""Sizes of collectives, and the fusing of layers: rules that hold for any model."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.traffic.fusing import fuse
from agents.traffic.members import Members
from agents.traffic.sizes import Carry, chance_of_any, messages_per_exchange, spread
from tests.unit.agents.traffic.conftest import moe


@given(st.integers(1, 8), st.integers(1, 8))
def test_every_copy_has_an_expert(nodes: int, rails: int) -> None:
    found = spread(moe(copies="expert"), nodes, rails)
    assert found.node * nodes == pytest.approx(8)
    assert found.gpu * rails == pytest.approx(found.node)


@given(st.integers(1, 8), st.integers(1, 8))
def test_a_copy_a_node_is_never_more_than_one_nor_more_than_one_an_expert(
    nodes: int, rails: int
) -> None:
    each, shared = (spread(moe(copies=copies), nodes, rails) for copies in ("expert", "node"))
    assert shared.node <= min(1.0, each.node) + 1e-12
    assert shared.gpu <= min(shared.node, each.gpu) + 1e-12


def test_the_chance_of_any_is_that_of_counting() -> None:
    choices = list(combinations(range(8), 3))
    hit = sum(any(expert < 2 for expert in choice) for choice in choices)
    assert chance_of_any(8, 3, 2) == pytest.approx(hit / len(choices))


@given(st.lists(st.floats(0, 50), max_size=30))
def test_what_is_carried_over_is_less_than_a_byte(sizes: list[float]) -> None:
    carry = Carry()
    sent = sum(carry.whole(size) for size in sizes)
    assert sum(sizes) - 1 - 1e-6 <= sent <= sum(sizes) + 1e-6


@given(
    st.integers(1, 100), st.floats(0.01, 10), st.integers(1, 64), st.integers(1, 200),
    st.floats(1, 1e5),
)  # fmt: skip
def test_fusing_is_the_least_that_keeps_to_the_budget(
    layers: int, pass_s: float, engines: int, messages: int, budget: float
) -> None:
    found = fuse(
        layers, pass_s, engines=engines, messages=messages, most_messages_per_s=budget
    )  # fmt: skip
    whole = engines * messages * layers / pass_s
    assert found.messages_per_s <= budget * (1 + 1e-9)
    assert found.messages_per_s * found.layers == pytest.approx(whole)
    assert found.layers == 1 or whole / (found.layers - 1) > budget * (1 - 1e-9)


@given(st.integers(1, 5), st.integers(1, 4), st.booleans())
def test_ends_of_queue_pairs_fit_each_other(nodes: int, rails: int, nvlink: bool) -> None:
    names = [f"pe{n}" for n in range(nodes)]
    every = [Members(names, name, rails, nvlink=nvlink) for name in names]
    opened = [
        (members.domain(members.number, call.rail), call.target, call.device)
        for members in every
        for call in members.calls()
    ]
    assert len(set(opened)) == len(opened)
    ends = {
        f"{a}>{b}/{device}:model#{side}" for a, b, device in opened for side in ("caller", "called")
    }
    used = {m.to_node(rail, node) for m in every for rail in range(rails) for node in m.remote}
    used |= {
        m.to_gpu(rail, other) for m in every for rail in range(rails) for other in m.others(rail)
    }
    assert used == ends
    assert sum(members.pair_count() for members in every) == len(ends)
    for a, b, device in opened:  # same rails between nodes, NVLink inside
        together = a.partition("g")[0] == b.partition("g")[0]
        assert device == "nvl" if together else a[-1] == b[-1] == device[-1]


def test_messages_of_an_exchange_are_counted_with_their_forwards() -> None:
    # 2 nodes of 2 GPUs: to the node, on to its GPU, to the own GPU; and back
    assert messages_per_exchange(2, 2, nvlink=True) == 6
    assert messages_per_exchange(2, 2, nvlink=False) == 2
    assert messages_per_exchange(1, 8, nvlink=False) == 0
