"""Which line is which: the same colours and dashes in every figure of a report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from testbed.report.series import Series


class LineStyle(NamedTuple):
    """How a class of NIC is drawn: the colour is its NICs', dashes are what leaves them."""

    colour: str
    dashed: bool


_OF_CLASS = {
    ("prefill", "snic"): "blue",
    ("prefill", "cnic"): "sky",
    ("decode", "snic"): "red",
    ("decode", "cnic"): "amber",
    ("storage", "snic"): "green",
}
_OTHERS = ("pink", "green", "blue", "red", "amber", "sky")


def line_styles(classes: Sequence[Series]) -> list[LineStyle]:
    """A style for each class; both directions of one have one colour."""
    others: dict[str, str] = {}
    found = []
    for one in classes:
        stem = one.name.removesuffix(f" {one.direction}")
        colour = _OF_CLASS.get((one.role, one.kind))
        if colour is None:
            colour = others.setdefault(stem, _OTHERS[len(others) % len(_OTHERS)])
        found.append(LineStyle(colour, one.direction in ("out", "write")))
    return found
