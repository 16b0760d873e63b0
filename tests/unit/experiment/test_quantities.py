"""Quantities as fields: strings with units in a file, numbers in a program."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from testbed.experiment.quantities import (
    FROM_FILE,
    DurationS,
    PerSecond,
    RateBps,
    SizeBytes,
    write_exactly,
)
from testbed.units import SIZES

rate = TypeAdapter[int](RateBps)
size = TypeAdapter[int](SizeBytes)
duration = TypeAdapter[float](DurationS)
frequency = TypeAdapter[float](PerSecond)


def test_text_becomes_numbers() -> None:
    assert rate.validate_python("100Mbit") == 100_000_000
    assert size.validate_python("64MiB") == 64 << 20
    assert duration.validate_python("300ms") == pytest.approx(0.3)
    assert frequency.validate_python("30/min") == pytest.approx(0.5)


@pytest.mark.parametrize("value", [100, 0.3, True, None, ["1s"], "100", "1 fortnight"])
@pytest.mark.parametrize("adapter", [rate, size, duration, frequency])
def test_what_has_no_unit_is_refused_in_a_file_with_an_example(
    adapter: TypeAdapter[float], value: object
) -> None:
    with pytest.raises(ValidationError, match=r"write it like|use one of"):
        adapter.validate_python(value, context=FROM_FILE)


def test_a_program_may_give_the_number_itself() -> None:
    assert rate.validate_python(100_000_000) == 100_000_000
    assert duration.validate_python(0.3) == 0.3


@pytest.mark.parametrize("value", [-1, True, float("inf"), float("nan"), None])
@pytest.mark.parametrize("adapter", [rate, size, duration, frequency])
def test_not_every_number_is_a_quantity(adapter: TypeAdapter[float], value: object) -> None:
    with pytest.raises(ValidationError, match="write it like"):
        adapter.validate_python(value)


@given(st.integers(0, 10**15))
def test_what_is_stored_reads_back_exactly(value: int) -> None:
    for adapter in (rate, size):
        assert adapter.validate_python(adapter.dump_python(value)) == value


@given(st.floats(0, 1e9))
def test_a_stored_duration_or_frequency_reads_back_exactly(value: float) -> None:
    for adapter in (duration, frequency):
        assert adapter.validate_python(adapter.dump_python(value)) == value


def test_the_largest_unit_that_divides_is_written() -> None:
    assert rate.dump_python(100_000_000) == "100Mbit"
    assert rate.dump_python(100_000_001) == "100000001bit"
    assert write_exactly(0, SIZES) == "0B"


@given(st.integers(0, 10**15))
def test_the_schema_accepts_what_is_stored(value: int) -> None:
    for adapter in (rate, size, duration):
        pattern = adapter.json_schema()["pattern"]
        assert re.search(pattern, adapter.dump_python(value))
