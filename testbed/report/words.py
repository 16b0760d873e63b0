"""Figures as the page sets them: as everywhere else, with a thin space before the unit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from testbed.metrics import label, show

_UNIT = re.compile(
    r"(?<![\w.])(-?\d[\d.]*(?:e[+-]?\d+)?)([KMGT]?bit|[KMGT]i?B|B|ms|us|s|%)(?![\w])"
)
_THIN = "\u202f"  # narrow and unbreakable


def spaced(said: str) -> str:
    """Text with a space between each number and its unit, and with a minus that is one."""
    found = _UNIT.sub(lambda part: f"{part[1]}{_THIN}{part[2]}", said)
    return re.sub(r"(?<![\w.])-(?=\d)", "\u2212", found).replace(f"{_THIN}us", f"{_THIN}µs")


class Words:
    """What people say for names of figures and of their values.

    Args:
        figures: by the name of a figure; what is not there is told by `testbed.metrics`.
        values: by the value.
    """

    def __init__(self, figures: Mapping[str, str], values: Mapping[str, str]) -> None:
        self._figures = figures
        self._values = values

    def figure(self, name: str) -> str:
        """A figure's name."""
        full = name.removesuffix("_full_scale")
        if full in self._figures:
            return self._figures[full] + (", full scale" if full != name else "")
        return label(name)

    def value(self, name: str, value: Any) -> str:
        """A figure's value."""
        if isinstance(value, str):
            return self._values.get(value, value)
        return shown(name, value)


def shown(name: str, value: Any) -> str:
    """A value for people, by the unit in its name; see `testbed.metrics.show`."""
    if name.endswith("ratio") and isinstance(value, float):
        return f"{value:.3f}"
    return spaced(show(name, value))
