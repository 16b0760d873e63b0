"""Rates, sizes and durations as fields of a scenario: strings with units in the file, numbers
in the program, and strings again, exactly, when a scenario is stored with its results.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Final, TypeAlias

from pydantic import BeforeValidator, PlainSerializer, ValidationInfo, WithJsonSchema

from testbed.errors import UsageError
from testbed.units import (
    DURATIONS,
    FREQUENCIES,
    RATES,
    SIZES,
    parse_duration_s,
    parse_frequency_per_s,
    parse_rate_bps,
    parse_size_bytes,
)

# The validation context of a file: in it a bare number is a mistake, whereas a program that
# builds a scenario writes seconds, bytes and bits per second as the numbers that they are.
FROM_FILE: Final = {"quantities": "text"}


def _reader(
    parse: Callable[[str], float], kind: str, example: str
) -> Callable[[object, ValidationInfo], float]:
    def read(value: object, info: ValidationInfo) -> float:
        if isinstance(value, str):
            try:
                return parse(value)
            except UsageError as error:
                # pydantic collects ValueErrors, and only those.
                raise ValueError("; ".join(filter(None, (error.message, error.hint)))) from None
        if (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and 0 <= value < math.inf
            and info.context is not FROM_FILE
        ):
            return value
        raise ValueError(f'{value!r} is not a {kind}; write it like "{example}"')

    return read


def _schema(kind: str, units: dict[str, int] | dict[str, float], example: str) -> WithJsonSchema:
    """The JSON schema of a quantity.  Units match in any case when read; the schema shows one."""
    return WithJsonSchema(
        {
            "type": "string",
            "description": f"a {kind} with its unit: {', '.join(units)}",
            "pattern": rf"^\s*[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?\s*({'|'.join(units)})\s*$",
            "examples": [example],
        }
    )


def write_exactly(value: int, units: dict[str, int]) -> str:
    """A whole quantity in the largest unit that divides it: 100000000 -> "100Mbit"."""
    name, factor = max(
        ((n, f) for n, f in units.items() if value % f == 0 and (value or f == 1)),
        key=lambda unit: unit[1],
    )
    return f"{value // factor}{name}"


def _write_rate(rate_bps: int) -> str:
    return write_exactly(rate_bps, RATES)


def _write_size(size_bytes: int) -> str:
    return write_exactly(size_bytes, SIZES)


def _write_duration(duration_s: float) -> str:
    return f"{duration_s!r}s"


def _write_frequency(per_s: float) -> str:
    return f"{per_s!r}/s"


RateBps: TypeAlias = Annotated[
    int,
    BeforeValidator(_reader(parse_rate_bps, "rate", "100Mbit")),
    PlainSerializer(_write_rate, return_type=str),
    _schema("rate", RATES, "100Mbit"),
]
"""Bits per second, written like "100Mbit"."""

SizeBytes: TypeAlias = Annotated[
    int,
    BeforeValidator(_reader(parse_size_bytes, "size", "64MiB")),
    PlainSerializer(_write_size, return_type=str),
    _schema("size", SIZES, "64MiB"),
]
"""Bytes, written like "64MiB"."""

DurationS: TypeAlias = Annotated[
    float,
    BeforeValidator(_reader(parse_duration_s, "duration", "300ms")),
    PlainSerializer(_write_duration, return_type=str),
    _schema("duration", DURATIONS, "300ms"),
]
"""Seconds, written like "300ms"."""

PerSecond: TypeAlias = Annotated[
    float,
    BeforeValidator(_reader(parse_frequency_per_s, "frequency", "0.5/s")),
    PlainSerializer(_write_frequency, return_type=str),
    _schema("frequency", FREQUENCIES, "0.5/s"),
]
"""Times per second, written like "0.5/s"."""
