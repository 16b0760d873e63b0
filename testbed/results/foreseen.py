"""Predicted | measured as a run keeps it: which figures are told, and how far apart they are.

The terminal and the report show the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Pair: TypeAlias = Mapping[str, Any]
"""`predicted`, `measured`, and `error` of numbers, or `same` of words that both sides share."""


def told(by_variant: Mapping[str, Mapping[str, Pair]]) -> list[str]:
    """Figures of any variant, in order.

    Words that each side says in its own way ("pe-snic-in" and "storage") are left out where there
    are others that can be compared: who reads them would find a difference that is none.
    """
    found = list(dict.fromkeys(name for figures in by_variant.values() for name in figures))
    if not any("same" in pair for figures in by_variant.values() for pair in figures.values()):
        return found
    return [name for name in found if not any(_own_words(f.get(name)) for f in by_variant.values())]


def _own_words(pair: Pair | None) -> bool:
    if pair is None or "same" in pair:
        return False
    return any(isinstance(pair.get(side), str) for side in ("predicted", "measured"))


def apart(pair: Pair) -> float | bool | None:
    """How far both are apart: a share of what was predicted, or whether words are the same."""
    if "same" in pair:
        same: bool | None = pair["same"]
        return same
    predicted, measured = (_number(pair.get(side)) for side in ("predicted", "measured"))
    return measured / predicted - 1 if predicted and measured is not None else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
