from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.fidelity.window import in_window, opening_s, steady_window


@pytest.mark.parametrize(("mean_turn_s", "opens_s"), [(1.0, 105.0), (4.0, 112.0)])
def test_the_window_opens_after_the_longer_of_the_two_waits(
    mean_turn_s: float, opens_s: float
) -> None:
    assert opening_s(100.0, mean_turn_s, least_s=5.0, turns=3.0) == opens_s


def test_a_transfer_counts_by_the_part_of_it_that_arrived_inside() -> None:
    first = np.array([0.0, 9.0, 4.0, 11.0, -1.0])
    last = np.array([2.0, 13.0, 5.0, 12.0, 19.0])
    size = np.array([100.0, 400.0, 70.0, 90.0, 2000.0])
    #                half before    a quarter in  whole  outside  the middle of it
    assert in_window(first, last, size, 1.0, 10.0).tolist() == [50.0, 100.0, 70.0, 0.0, 900.0]


def test_a_transfer_that_took_no_time_counts_whole_and_in_one_window_only() -> None:
    at, size = np.array([1.0, 2.0]), np.array([10.0, 20.0])
    assert in_window(at, at, size, 1.0, 2.0).tolist() == [10.0, 0.0]
    assert in_window(at, at, size, 2.0, 3.0).tolist() == [0.0, 20.0]


@given(
    st.lists(st.tuples(st.floats(0, 30), st.floats(0, 5), st.integers(0, 10**9)), min_size=1),
    st.floats(1, 29),
)
def test_windows_side_by_side_share_out_every_byte(
    transfers: list[tuple[float, float, int]], cut: float
) -> None:
    first = np.array([t for t, _, _ in transfers])
    last = first + np.array([took for _, took, _ in transfers])
    size = np.array([s for _, _, s in transfers], float)
    parts = in_window(first, last, size, 0, cut) + in_window(first, last, size, cut, 40.0)
    assert parts == pytest.approx(size, rel=1e-6, abs=1e-3)


def test_an_even_load_is_steady_and_its_thirds_are_its_rate() -> None:
    at = np.arange(0, 30, 0.5)
    window = steady_window(at, at + 0.5, np.full(len(at), 1000.0), 3.0, 27.0, 0.05)
    assert window.steady is True
    assert all(type(rate) is float for rate in window.thirds_bps)
    assert window.thirds_bps == pytest.approx((16000.0,) * 3)


def test_a_load_that_still_grows_is_not_steady() -> None:
    at = np.arange(0, 30, 0.5)
    window = steady_window(at, at + 0.5, 1000.0 + 10 * at, 3.0, 27.0, 0.05)
    assert not window.steady
    assert window.thirds_bps[0] < window.thirds_bps[1] < window.thirds_bps[2]


def test_a_busy_middle_excuses_nothing() -> None:
    """Thirds of 100, 1000 and 92 bytes: 8 % apart."""
    at, size = np.array([1.0, 4.0, 7.0]), np.array([100.0, 1000.0, 92.0])
    assert steady_window(at, at, size, 0.0, 9.0, 0.081).steady
    assert not steady_window(at, at, size, 0.0, 9.0, 0.079).steady


def test_nothing_arrived_is_not_steady() -> None:
    none = np.array([])
    assert not steady_window(none, none, none, 0.0, 9.0, 0.05).steady
    assert not steady_window(none, none, none, 9.0, 9.0, 0.05).steady
