"""The cost of a byte over a link, between the links that were measured."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.costing.costs import REFERENCE, HopCost, hop_s_per_gib

WIDE = 65536
POINTS = (HopCost(100e6, WIDE, 3.0), HopCost(800e6, WIDE, 1.5), HopCost(100e6, 12500, 4.0))
rates = st.floats(1e5, 1e11)
packets = st.floats(2000, 65536)


def test_what_was_measured_is_found_again() -> None:
    for point in POINTS:
        found = hop_s_per_gib(POINTS, point.rate_bps, point.packet_bytes).machine
        assert found == pytest.approx(point.s_per_gib)


def test_between_two_rates_the_logarithm_counts() -> None:
    middle = (100e6 * 800e6) ** 0.5
    assert hop_s_per_gib(POINTS, middle, WIDE).machine == pytest.approx(2.25)


def test_above_the_fastest_it_is_flat_and_below_the_slowest_it_goes_on() -> None:
    assert hop_s_per_gib(POINTS, 1e11, WIDE).machine == 1.5
    assert hop_s_per_gib(POINTS, 12.5e6, WIDE).machine == pytest.approx(4.5)


@given(rates, rates, packets)
def test_slower_links_never_cost_less(one: float, other: float, packet: float) -> None:
    for points in (POINTS, REFERENCE.snic, REFERENCE.cnic):
        slow = hop_s_per_gib(points, min(one, other), packet).machine
        assert slow >= hop_s_per_gib(points, max(one, other), packet).machine - 1e-9


@given(rates, packets, packets)
def test_smaller_packets_never_cost_less(rate: float, one: float, other: float) -> None:
    for points in (POINTS, REFERENCE.snic, REFERENCE.cnic):
        small = hop_s_per_gib(points, rate, min(one, other)).machine
        assert small >= hop_s_per_gib(points, rate, max(one, other)).machine - 1e-9


def test_a_disturbed_measurement_does_not_make_slow_links_free() -> None:
    """The slower link came out cheaper: it is not extrapolated to nothing."""
    odd = (HopCost(100e6, WIDE, 1.0), HopCost(800e6, WIDE, 2.0))
    assert hop_s_per_gib(odd, 1e6, WIDE).machine == 1.0
    assert hop_s_per_gib(odd, 100e6, WIDE).machine == 1.0


def test_one_point_is_enough() -> None:
    assert hop_s_per_gib((HopCost(1e8, WIDE, 2.0, 1.0),), 3e8, 9000) == (2.0, 1.0)
