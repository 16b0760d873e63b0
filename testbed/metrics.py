"""Figures for people: a label and a unit, both from a figure's name.

No figure is known by name.  Units follow from the ends of names (`_bps`, `_s`, `_bytes`, …);
`X_full_scale` is the same figure in the real cluster's units, `modelled_X` the same with modelled
engines.  The terminal and the report show figures alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from testbed.units import show_duration, show_rate, show_size

if TYPE_CHECKING:
    from testbed.results.intervals import Interval

NOTHING = "–"
_FULL_SCALE = "_full_scale"
_MODELLED = "modelled_"
# Ends of names that a label leaves out, because the value says it by its unit.
_UNITS = ("_bps", "_per_s", "_s", "_bytes")
# End of a name -> unit of an axis, and how much of the figure's own that is.
_AXES = (
    ("_bps", "Mbit/s", 1e6),
    ("_per_s", "/s", 1.0),
    ("_s", "s", 1.0),
    ("_bytes", "MiB", 2.0**20),
    ("share", "%", 0.01),
    ("_rate", "%", 0.01),
)
_SHARES = ("share", "gap", "_rate", "utilisation", "utilisation_fullest", "lanes")
_HIDDEN = frozenset({"window_s"})  # moments of a clock that only the records know


def label(name: str) -> str:
    """A figure's name in words: kv_load_bps_full_scale -> "kv load, full scale".

    Of a figure in a mapping, both names: ttft_s.p50 -> "ttft p50".
    """
    if "." in name:
        return " ".join(label(part) for part in name.split("."))
    stem = name.removesuffix(_FULL_SCALE)
    for unit in _UNITS:
        if stem.endswith(unit):
            stem = stem.removesuffix(unit)
            break
    words = stem.removeprefix(_MODELLED).replace("_", " ").replace("speedup", "speed-up")
    if stem.startswith(_MODELLED):
        words += ", with modelled engines"
    return f"{words}, full scale" if name.endswith(_FULL_SCALE) else words


def show(name: str, value: Any) -> str:
    """A value for people, by the unit in its name."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        if set(value) == {"p50", "p99", "mean"}:
            if value["p50"] is None:
                return NOTHING
            return f"{show(name, value['p50'])} (p99 {show(name, value['p99'])})"
        parts = (f"{label(key)} {show(_inner(name, key), v)}" for key, v in value.items())
        return ", ".join(parts) or NOTHING
    if isinstance(value, list):
        return ", ".join(show(name, each) for each in value) or NOTHING
    if not isinstance(value, int | float):
        return str(value)
    outer, *inner = name.split(".")
    for key in inner:
        outer = name = _inner(outer, key)
    return _number(name.removesuffix(_FULL_SCALE), value)


def axis(name: str) -> tuple[str, float]:
    """What an axis of this figure is called, with its unit, and what values are divided by.

    ttft_s.p50 -> ("ttft p50 (s)", 1.0), kv_load_bps -> ("kv load (Mbit/s)", 1e6).
    """
    outer, *inner = name.split(".")
    for key in inner:
        outer = _inner(outer, key)
    stem = outer.removesuffix(_FULL_SCALE)
    for end, unit, divisor in _AXES:
        if stem.endswith(end):
            if outer != stem and unit == "Mbit/s":
                unit, divisor = "Gbit/s", 1e9
            return f"{label(name)} ({unit})", divisor
    if stem.startswith("bytes_"):
        return f"{label(name)} (MiB)", 2.0**20
    return label(name), 1.0


def show_interval(name: str, interval: Interval | None) -> str:
    """A figure with the interval that it is in, if there is one."""
    if interval is None:
        return NOTHING
    value = show(name, interval.value)
    if interval.low is None or interval.high is None:
        return value
    return f"{value} [{show(name, interval.low)} – {show(name, interval.high)}]"


def _number(stem: str, value: float) -> str:
    if stem.endswith("_bps"):
        return f"{show_rate(value)}/s"
    if stem.endswith("_per_s"):
        return f"{value:.4g}/s"
    if stem.endswith("_s"):
        return show_duration(value)
    if stem.endswith("_bytes") or stem.startswith("bytes_"):
        return show_size(value)
    if stem.endswith(_SHARES):
        return f"{value:.1%}"
    if stem.endswith("speedup"):
        return f"{value:.2f}×"
    if stem.endswith("slowdown"):
        return f"{value:.4g}×"
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def _inner(outer: str, key: str) -> str:
    """The name that says the unit of a value in a mapping: its own, else the mapping's."""
    return key if key.endswith((*_UNITS, *_SHARES)) else outer


def names(summaries: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The figures of all variants that people may want, in the order that they come in.

    Lists of records (a row for each NIC, say) are for a table of their own.
    """
    found = dict.fromkeys(name for summary in summaries.values() for name in summary)
    return [
        name
        for name in found
        if name not in _HIDDEN
        and not any(_is_table(summary.get(name)) for summary in summaries.values())
    ]


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(row, Mapping) for row in value)
