"""Figures as the page sets them: as everywhere else, with a thin space before the unit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from testbed.metrics import label, show
from testbed.results.intervals import CONFIDENCE, Interval

_UNIT = re.compile(
    r"(?<![\w.])(-?\d[\d.]*(?:e[+-]?\d+)?)([KMGT]?bit|[KMGT]i?B|B|ms|us|s|%)(?![\w])"
)
_UNBROKEN = "\u00a0"
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

    def dotted(self, metric: str) -> str:
        """A figure of a figure: ttft_s.p50, slowdown.h2d.p99."""
        whole, *parts = metric.split(".")
        said = [self.figure(whole)]
        for part in parts:
            known = self._values.get(part)
            said.append(label(part) if known is None else f"{known},")
        if any(part in self._values for part in parts):
            said[0] += ":"
        return " ".join(said).removesuffix(",")

    def value(self, name: str, value: Any) -> str:
        """A figure's value."""
        if isinstance(value, str):
            return self._values.get(value, value)
        return shown(name, value)


def bound_by(summary: Mapping[str, Any], words: Words) -> str:
    """What a variant was bound by, for people; empty where it is not said."""
    said = summary.get("binds") or summary.get("bound_by")
    return words.value("", said) if said else ""


def shown(name: str, value: Any) -> str:
    """A value for people, by the unit in its name; see `testbed.metrics.show`."""
    if name.endswith("ratio") and isinstance(value, float):
        return f"{value:.3f}"
    return spaced(show(name, value))


def whole(interval: str) -> str:
    """What is in brackets, on one line."""
    return interval.replace(" ", _UNBROKEN)


def brackets(intervals: Iterable[Interval | None], drawn: str = "in brackets") -> list[str]:
    """What intervals of several runs, and those of single ones, mean, a line each.

    Args:
        intervals: of figures, as `testbed.results.sets.RunSet.median` gives them.
        drawn: how they are shown.
    """
    known = [each for each in intervals if each is not None and each.confidence is not None]
    several = [each.confidence for each in known if each.count > 1 and each.confidence]
    said = []
    if several:
        least = min(several)
        few = f": too few runs for {CONFIDENCE:.0%}" if least < CONFIDENCE else ""
        said.append(
            f"median over runs; {drawn}, where the true one is with {least:.0%} confidence{few}"
        )
    if len(several) < len(known):
        said.append(
            f"of a single run: {drawn}, how sure its own mean is ({CONFIDENCE:.0%}, batch means); "
            "that tells nothing of other seeds"
        )
    return said
