"""The cost model, the balanced split, and recent rates."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.scheduler.costs import balanced_share, by_both, by_decode, by_peer, by_prefill
from agents.scheduler.rates import RecentRates, line_rates
from agents.scheduler.views import NodeView, Rates, RequestView

QUEUES = st.integers(0, 10**6)
SPEEDS = st.floats(1.0, 1e6)


def request(hit: int) -> RequestView:
    return RequestView(1, hit + 1, hit)


def node(queue: int, read: float = 100.0) -> NodeView:
    return NodeView("n", queue, 1, Rates(read, 400.0, 200.0))


def test_a_request_waits_for_all_reads_before_it_and_then_loads() -> None:
    prefill, decode = node(100), node(300)
    assert by_prefill(request(200), prefill, decode) == (3.0, 0.5)
    assert by_decode(request(200), prefill, decode) == (5.0, 1.0)
    assert by_both(request(200), prefill, decode, 0.25).total_s == 3.5 + 1.0


def test_idle_nodes_that_are_alike_share_evenly() -> None:
    assert balanced_share(request(640), node(0), node(0)) == 0.5
    assert balanced_share(request(640), node(0), node(0, 300.0)) == pytest.approx(0.75)


@given(QUEUES, QUEUES, SPEEDS, SPEEDS, st.integers(64, 10**6))
def test_no_share_reads_sooner_than_the_balanced_one(
    pe: int, de: int, pe_speed: float, de_speed: float, hit: int
) -> None:
    prefill, decode, asked = node(pe, pe_speed), node(de, de_speed), request(hit)
    share = balanced_share(asked, prefill, decode)
    best_s = by_both(asked, prefill, decode, share).read_s
    for other in (0.0, 0.1, 0.3, 0.5, 0.8, 1.0):
        assert best_s <= by_both(asked, prefill, decode, other).read_s * (1 + 1e-9)


def test_rates_are_the_lines_until_measured_and_then_recent() -> None:
    rates = RecentRates(10.0, line_rates(8000.0, 80_000.0, 10.0))
    assert rates.of("pe0") == (100.0, 1000.0, 1000.0, 1000.0)
    rates.measured("pe0", {"read": (500, 1.0)})
    assert rates.of("pe0").read == pytest.approx(50.0)
    assert rates.of("de0").read == 100.0
    for _ in range(40):
        rates.measured("pe0", {"read": (800, 2.0), "load": (0, 0.0)})
    assert rates.of("pe0").read == pytest.approx(40.0, rel=1e-3)
    assert rates.of("pe0").load == 1000.0


def cached(hit: int, tokens: int, where: str) -> RequestView:
    return RequestView(1, hit + 1, hit, 64, where, tokens)


def test_a_cache_costs_the_fabric_or_nothing_and_storage_has_the_rest() -> None:
    prefill = NodeView("pe0", 0, 0, Rates(100.0, 400.0, 200.0))
    decode = NodeView("de0", 300, 1, Rates(100.0, peer=50.0))
    assert by_peer(cached(200, 0, ""), prefill, decode) is None
    assert by_peer(cached(200, 200, "de0"), prefill, decode) == (0.0, 1.0)
    assert by_peer(cached(200, 200, "de1"), prefill, decode) == (4.0, 1.0)
    assert by_peer(cached(200, 100, "de1"), prefill, decode) == (4.0, 1.0)
    assert by_peer(cached(200, 50, "de0"), prefill, decode) == (4.5, 1.0)
