"""Aligned columns."""

from __future__ import annotations

from testbed.columns import columns


def test_cells_are_padded_to_the_widest_and_lines_end_with_text() -> None:
    assert columns([("a", "long"), ("longer", "b")], ("X", "Y")) == [
        "X       Y",
        "a       long",
        "longer  b",
    ]


def test_nothing_makes_no_lines() -> None:
    assert columns([]) == []
