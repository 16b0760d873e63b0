"""Rates, sizes and durations as strings with units ("100Mbit", "64MiB", "300ms"), and back.

A bare number is refused on purpose: "100" may be bits, bytes or packets, and a link shaped
a million times too slow looks like a hung program.
"""

from __future__ import annotations

import math
import re

from testbed.errors import UsageError

_NUMBER = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)\s*([A-Za-zµ/]*)\s*")

# Rates are bits per second, decimal prefixes, as in tc(8).
RATES = {"bit": 1, "Kbit": 10**3, "Mbit": 10**6, "Gbit": 10**9, "Tbit": 10**12}
SIZES = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
DURATIONS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
FREQUENCIES = {"/s": 1.0, "/min": 1 / 60, "/h": 1 / 3600}


def _parse(text: str, units: dict[str, float] | dict[str, int], kind: str, example: str) -> float:
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is not a {kind}", hint=f"write it like {example}")
    number, unit = match.groups()
    by_folded = {name.lower(): factor for name, factor in units.items()}
    if not unit:
        raise UsageError(f"the {kind} {text!r} has no unit", hint=f"write it like {example}")
    if unit.lower() not in by_folded:
        known = ", ".join(units)
        raise UsageError(
            f"{unit!r} in {text!r} is not a unit of {kind}", hint=f"use one of {known}"
        )
    value = float(number) * by_folded[unit.lower()]
    if not math.isfinite(value):
        raise UsageError(f"the {kind} {text!r} is too large", hint=f"write it like {example}")
    return value


def parse_rate_bps(text: str) -> int:
    """Bits per second of a rate such as "100Mbit"; `UsageError` if it has no unit."""
    return round(_parse(text, RATES, "rate", '"100Mbit"'))


def parse_size_bytes(text: str) -> int:
    """Bytes of a size such as "64MiB"; `UsageError` if it has no unit."""
    return round(_parse(text, SIZES, "size", '"64MiB"'))


def parse_duration_s(text: str) -> float:
    """Seconds of a duration such as "300ms"; `UsageError` if it has no unit."""
    return _parse(text, DURATIONS, "duration", '"300ms"')


def parse_frequency_per_s(text: str) -> float:
    """Times per second of a frequency such as "0.5/s"; `UsageError` if it has no unit."""
    return _parse(text, FREQUENCIES, "frequency", '"0.5/s"')


def _show(value: float, units: list[tuple[str, float]]) -> str:
    for name, factor in units:
        if abs(value) >= factor:
            return f"{value / factor:.4g}{name}"
    name, factor = units[-1]
    return f"{value / factor:.4g}{name}"


def show_rate(rate_bps: float) -> str:
    """A rate for people: 100000000 -> "100Mbit"."""
    return _show(rate_bps, [(n, float(f)) for n, f in reversed(RATES.items())])


def show_size(size_bytes: float) -> str:
    """A size for people, in binary units: 67108864 -> "64MiB"."""
    return _show(size_bytes, [(n, float(SIZES[n])) for n in ("TiB", "GiB", "MiB", "KiB", "B")])


def show_duration(duration_s: float) -> str:
    """A duration for people: 0.3 -> "300ms"."""
    return _show(duration_s, [("s", 1.0), ("ms", 1e-3), ("us", 1e-6)])
