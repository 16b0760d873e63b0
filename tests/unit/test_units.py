"""Rates, sizes and durations as strings with units."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import UsageError
from testbed.units import (
    DURATIONS,
    RATES,
    SIZES,
    parse_duration_s,
    parse_frequency_per_s,
    parse_rate_bps,
    parse_size_bytes,
    show_duration,
    show_rate,
    show_size,
)

PARSERS: list[Callable[[str], float]] = [
    parse_rate_bps,
    parse_size_bytes,
    parse_duration_s,
    parse_frequency_per_s,
]


@pytest.mark.parametrize(
    ("text", "bps"),
    [
        ("100Mbit", 100_000_000),
        ("400 Gbit", 400_000_000_000),
        ("1.5mbit", 1_500_000),
        ("8bit", 8),
        (" 2e3 Kbit ", 2_000_000),
    ],
)
def test_rates_are_decimal_bits_per_second(text: str, bps: int) -> None:
    assert parse_rate_bps(text) == bps


@pytest.mark.parametrize(
    ("text", "size"),
    [("64MiB", 64 << 20), ("64MB", 64_000_000), ("1.5KiB", 1536), ("0B", 0)],
)
def test_sizes_are_bytes_binary_or_decimal(text: str, size: int) -> None:
    assert parse_size_bytes(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"), [("300ms", 0.3), ("5us", 5e-6), ("2min", 120.0), ("1h", 3600.0)]
)
def test_durations_are_seconds(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize(("text", "per_s"), [("0.5/s", 0.5), ("30/min", 0.5), ("7200 /h", 2.0)])
def test_frequencies_are_per_second(text: str, per_s: float) -> None:
    assert parse_frequency_per_s(text) == pytest.approx(per_s)


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize("text", ["", "100", "Mbit", "-1s", "1.2.3s", "nan", "infs", "1e999s"])
def test_what_is_no_quantity_is_refused_with_an_example(
    parse: Callable[[str], float], text: str
) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert caught.value.hint


def test_a_bare_number_is_refused_because_of_its_unit() -> None:
    with pytest.raises(UsageError, match="has no unit"):
        parse_rate_bps("100")


def test_a_unit_of_another_kind_is_refused_with_the_units_there_are() -> None:
    with pytest.raises(UsageError, match="'MiB' in '1MiB' is not a unit of rate") as caught:
        parse_rate_bps("1MiB")
    assert all(unit in caught.value.hint for unit in RATES)


@given(st.integers(1, 10**6), st.sampled_from(sorted(RATES)))
def test_every_unit_of_rate_is_its_factor(number: int, unit: str) -> None:
    assert parse_rate_bps(f"{number}{unit}") == number * RATES[unit]


@given(st.integers(0, 10**6), st.sampled_from(sorted(SIZES)))
def test_every_unit_of_size_is_its_factor(number: int, unit: str) -> None:
    assert parse_size_bytes(f"{number}{unit}") == number * SIZES[unit]


@given(st.integers(0, 10**6), st.sampled_from(sorted(DURATIONS)))
def test_every_unit_of_duration_is_its_factor(number: int, unit: str) -> None:
    assert parse_duration_s(f"{number}{unit}") == pytest.approx(number * DURATIONS[unit])


@given(st.integers(1, 10**15))
def test_what_is_shown_can_be_read_again(value: int) -> None:
    # Four digits are shown: within half of the last of them.
    assert parse_rate_bps(show_rate(value)) == pytest.approx(value, rel=1e-3)
    assert parse_size_bytes(show_size(value)) == pytest.approx(value, rel=1e-3)
    assert parse_duration_s(show_duration(value / 1e6)) == pytest.approx(value / 1e6, rel=1e-3)


def test_quantities_are_shown_in_the_unit_that_people_use() -> None:
    assert show_rate(100_000_000) == "100Mbit"
    assert show_size(64 << 20) == "64MiB"
    assert show_duration(0.3) == "300ms"
    assert show_rate(0) == "0bit"
