"""What a chart shows: values with intervals, a paper's beside them.  `testbed.report` draws it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from testbed.results.intervals import Interval


class Series(msgspec.Struct, frozen=True):
    """What one colour stands for.

    Args:
        name: in the legend.
        x: names of groups of bars, or numbers of a line.
        y: with their intervals; None where there is nothing.
        paper: the paper's values at the same x; empty where it has none.
    """

    name: str
    x: Sequence[str] | Sequence[float]
    y: Sequence[Interval | None]
    paper: Sequence[float | None] = ()


class Chart(msgspec.Struct, frozen=True):
    """A figure of the paper, as it comes out here.

    Args:
        name: of its files.
        title: over it.
        x, y: what the axes say, with units.
        series: all with the same x if they are bars.
        kind: bars side by side, bars on top of each other, or lines.
        log: scale of the y axis.
    """

    name: str
    title: str
    x: str
    y: str
    series: list[Series]
    kind: Literal["bars", "stacked", "lines"] = "bars"
    log: bool = False
