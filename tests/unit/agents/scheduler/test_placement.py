"""Placing at once: by least tokens, and each engine in turn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.scheduler.placement import AtOnce
from agents.scheduler.state import Ask, EngineReport, GroupReport


def placement(nodes: int, rails: int, *, by_tokens: bool = True) -> AtOnce:
    return AtOnce([f"pe{node}" for node in range(nodes)], ["de0"], rails, by_tokens=by_tokens)


def place(placed: AtOnce, request: int, tokens: int) -> tuple[str, int]:
    (where,) = placed.submit(Ask(request, tokens, tokens + 5, 0))
    assert where.request == request
    assert where.decode[0] == "de0"
    return where.prefill


def test_equal_requests_go_round_nodes_then_engines() -> None:
    for by_tokens in (True, False):
        placed = placement(2, 2, by_tokens=by_tokens)
        engines = [place(placed, number, 100) for number in range(5)]
        assert engines[:4] == [("pe0", 0), ("pe1", 0), ("pe0", 1), ("pe1", 1)]
        assert engines[4] == engines[0]


def test_the_node_with_fewer_tokens_is_chosen_even_if_another_has_an_idle_engine() -> None:
    placed = placement(2, 2)
    assert place(placed, 1, 1000) == ("pe0", 0)
    assert place(placed, 2, 10) == ("pe1", 0)
    assert place(placed, 3, 10) == ("pe1", 1)
    assert place(placed, 4, 10) == ("pe1", 0)


def test_round_robin_does_not_look_at_tokens() -> None:
    placed = placement(2, 1, by_tokens=False)
    assert [place(placed, n, size)[0] for n, size in enumerate([1000, 1, 1, 1])] == [
        "pe0", "pe1", "pe0", "pe1",
    ]  # fmt: skip


def test_finished_requests_make_room() -> None:
    placed = placement(1, 2)
    assert [place(placed, 1, 100)[1], place(placed, 2, 50)[1]] == [0, 1]
    placed.ended(1)
    assert place(placed, 3, 10) == ("pe0", 0)


def test_read_queues_hold_what_is_assigned_and_not_finished() -> None:
    placed = placement(1, 1)
    place(placed, 1, 100)
    placed.reading(1, "pe0", 64)
    placed.reading(1, "de0", 32)
    assert (placed.read_queue("pe0"), placed.read_queue("de0")) == ((64, 1), (32, 1))
    placed.read_finished(1, "pe0")
    assert (placed.read_queue("pe0"), placed.read_queue("de0")) == ((0, 0), (32, 1))
    placed.ended(1)  # failed before it could read
    assert placed.read_queue("de0") == (0, 0)


def test_fetches_place_nothing() -> None:
    assert placement(1, 1).fetch(GroupReport("pe0", [EngineReport(0, 0)])) == []


def test_mistakes_are_not_passed_over() -> None:
    placed = placement(1, 1)
    place(placed, 1, 100)
    with pytest.raises(ValueError, match="placed already"):
        place(placed, 1, 100)
    placed.ended(1)
    with pytest.raises(KeyError):
        placed.ended(1)


@given(
    st.integers(1, 4), st.integers(1, 4), st.lists(st.integers(1, 1000), min_size=1, max_size=60)
)
def test_nodes_never_differ_by_more_than_the_largest_request_when_nothing_ends(
    nodes: int, rails: int, sizes: list[int]
) -> None:
    placed = placement(nodes, rails)
    loads = dict.fromkeys([f"pe{node}" for node in range(nodes)], 0)
    for number, size in enumerate(sizes):
        loads[place(placed, number, size)[0]] += size
    assert max(loads.values()) - min(loads.values()) <= max(sizes)


@pytest.mark.parametrize("by_tokens", [True, False])
def test_a_lost_node_gets_nothing_more_and_what_it_had_can_end(by_tokens: bool) -> None:
    placement = AtOnce(["pe0", "pe1"], ["de0", "de1"], 1, by_tokens=by_tokens)
    for request in range(4):
        placement.submit(Ask(request, 10, 12, 5))
    placement.lose("de1")
    assert placement.bereft == ""
    later = [placement.submit(Ask(request, 10, 12, 5))[0] for request in range(4, 8)]
    assert {each.decode for each in later} == {("de0", 0)}
    for request in range(8):
        placement.ended(request)
    placement.lose("de0")
    assert placement.bereft == "decode"


def test_a_request_that_an_earlier_scheduler_placed_counts() -> None:
    placement = AtOnce(["pe0", "pe1"], ["de0"], 1, by_tokens=True)
    placement.adopt(Ask(1, 10, 12, 5), ("pe0", 0), ("de0", 0))
    assert placement.submit(Ask(2, 10, 12, 5))[0].prefill == ("pe1", 0)
    placement.ended(1)
