"""Least-tokens placement."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.scheduler.placement import LeastTokens


def placement(nodes: int, rails: int) -> LeastTokens:
    return LeastTokens([(f"pe{node}", rail) for node in range(nodes) for rail in range(rails)])


def test_equal_requests_go_round_nodes_then_engines() -> None:
    placed = placement(2, 2)
    engines = [placed.place(number, 100) for number in range(4)]
    assert engines == [("pe0", 0), ("pe1", 0), ("pe0", 1), ("pe1", 1)]


def test_the_node_with_fewer_tokens_is_chosen_even_if_another_has_an_idle_engine() -> None:
    placed = placement(2, 2)
    assert placed.place(1, 1000) == ("pe0", 0)
    assert placed.place(2, 10) == ("pe1", 0)
    assert placed.place(3, 10) == ("pe1", 1)
    assert placed.place(4, 10) == ("pe1", 0)


def test_finished_requests_make_room() -> None:
    placed = placement(1, 2)
    placed.place(1, 100)
    placed.place(2, 50)
    placed.finish(1)
    assert placed.place(3, 10) == ("pe0", 0)
    assert placed.tokens("pe0") == 60


def test_mistakes_are_not_passed_over() -> None:
    placed = placement(1, 1)
    placed.place(1, 100)
    with pytest.raises(ValueError, match="placed already"):
        placed.place(1, 100)
    placed.finish(1)
    with pytest.raises(KeyError):
        placed.finish(1)
    with pytest.raises(ValueError, match="named twice"):
        LeastTokens([("pe0", 0), ("pe0", 0)])
    with pytest.raises(ValueError, match="all of them as many"):
        LeastTokens([("pe0", 0), ("pe1", 0), ("pe1", 1)])
    with pytest.raises(ValueError, match="must have engines"):
        LeastTokens([])


@given(
    st.integers(1, 4),
    st.integers(1, 4),
    st.lists(st.integers(1, 1000), min_size=1, max_size=60),
    st.data(),
)
def test_nodes_never_differ_by_more_than_the_largest_request_when_nothing_ends(
    nodes: int, rails: int, sizes: list[int], data: st.DataObject
) -> None:
    placed = placement(nodes, rails)
    for number, size in enumerate(sizes):
        placed.place(number, size)
    loads = [placed.tokens(f"pe{node}") for node in range(nodes)]
    assert max(loads) - min(loads) <= max(sizes)
    assert sum(loads) == sum(sizes)
    ended = data.draw(st.permutations(range(len(sizes))))
    for number in ended:
        placed.finish(number)
    assert all(placed.tokens(f"pe{node}") == 0 for node in range(nodes))
