"""A run's nested summary as one row: figures by dotted names, values that a column can hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Scalar: TypeAlias = float | int | bool | str | None


def flat(summary: Mapping[str, Any]) -> dict[str, Scalar]:
    """Figures by dotted names: {"ttft_s": {"p50": 1.0}} -> {"ttft_s.p50": 1.0}.

    Lists are left out: a row has no place for something that is longer in the next run.
    """
    found: dict[str, Scalar] = {}
    for name, value in summary.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{inner}": each for inner, each in flat(value).items()}
        elif not isinstance(value, list):
            found[name] = value
    return found


def numbers(summary: Mapping[str, Any]) -> dict[str, float]:
    """The figures that can be compared: numbers, but no truth values."""
    return {
        name: float(value)
        for name, value in flat(summary).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
