"""The scale: rate and bytes shrink, time stretches by what is left over."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import UsageError
from testbed.experiment.scale import Scale

factors = st.floats(1e-3, 1e6)
scales = st.builds(Scale, rate=factors, bytes=factors)
amounts = st.floats(1e-6, 1e12)


def test_a_large_read_on_a_fast_nic_takes_four_times_as_long_here() -> None:
    scale = Scale(rate=4000, bytes=1000)
    assert scale.stretch == 4
    assert scale.emulated_rate_bps(400e9) == pytest.approx(100e6)
    assert scale.emulated_bytes(2.56e9) == pytest.approx(2.56e6)
    real_s = 2.56e9 * 8 / 400e9
    assert scale.emulated_s(real_s) == pytest.approx(4 * real_s)


@given(scales, amounts, amounts)
def test_a_transfer_takes_stretched_time_at_every_scale(
    scale: Scale, size: float, rate: float
) -> None:
    emulated_s = scale.emulated_bytes(size) * 8 / scale.emulated_rate_bps(rate)
    assert emulated_s == pytest.approx(scale.emulated_s(size * 8 / rate))


@given(scales, amounts)
def test_what_is_measured_converts_back(scale: Scale, amount: float) -> None:
    assert scale.real_rate_bps(scale.emulated_rate_bps(amount)) == pytest.approx(amount)
    assert scale.real_bytes(scale.emulated_bytes(amount)) == pytest.approx(amount)
    assert scale.real_s(scale.emulated_s(amount)) == pytest.approx(amount)
    assert scale.real_per_s(scale.emulated_per_s(amount)) == pytest.approx(amount)


@given(scales, amounts)
def test_a_frequency_is_the_inverse_of_a_time(scale: Scale, period_s: float) -> None:
    assert scale.emulated_per_s(1 / period_s) == pytest.approx(1 / scale.emulated_s(period_s))


def test_rounding_a_unit_of_bytes_changes_the_scale_by_as_much() -> None:
    realised = Scale(rate=4000, bytes=1000).realised(82_176, 82)
    assert realised.bytes == pytest.approx(82_176 / 82)
    assert realised.rate == 4000
    assert realised.emulated_bytes(82_176) == pytest.approx(82)


def test_a_unit_that_has_no_byte_left_is_refused() -> None:
    with pytest.raises(UsageError, match="none left"):
        Scale(rate=4000, bytes=1e6).realised(45_000, 0)


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan"), float("inf")])
def test_a_factor_that_is_not_positive_is_refused(factor: float) -> None:
    with pytest.raises(UsageError, match="rate"):
        Scale(rate=factor)
    with pytest.raises(UsageError, match="bytes"):
        Scale(bytes=factor)
