"""Predicted | measured as it is told."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.results.foreseen import apart, told

OWN = {"predicted": "pe-snic-in", "measured": "storage", "error": None}
SHARED = {"predicted": "pe-snics", "measured": "pe-snics", "error": None, "same": True}
NUMBER = {"predicted": 2.0, "measured": 1.0, "error": -0.5}


def test_words_of_two_vocabularies_give_way_to_those_of_one() -> None:
    assert told({"a": {"load": NUMBER, "bound_by": OWN, "binds": SHARED}}) == ["load", "binds"]


def test_a_run_from_before_there_was_one_vocabulary_tells_what_it_has() -> None:
    assert told({"a": {"load": NUMBER}, "b": {"bound_by": OWN}}) == ["load", "bound_by"]


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        (NUMBER, -0.5),
        (SHARED, True),
        (SHARED | {"same": False}, False),
        (SHARED | {"measured": None, "same": None}, None),
        (OWN, None),
        ({}, None),
        ({"predicted": 0.0, "measured": 1.0}, None),
        ({"predicted": True, "measured": 1.0}, None),
    ],
)
def test_how_far_both_are_apart(pair: dict[str, Any], expected: float | bool | None) -> None:
    assert apart(pair) == expected
