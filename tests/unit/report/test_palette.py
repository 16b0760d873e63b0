"""Colours can be read: WCAG 2.2, contrast of text (1.4.3) and of what is drawn (1.4.11)."""

from __future__ import annotations

import pytest

from testbed.report.svg import COLOURS

TEXT = ("fg", "soft", "red", "green")
DRAWN = ("blue", "sky", "red", "amber", "green", "pink", "grey", "use2", "use3", "full")


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(name: str, ground: str, theme: int) -> float:
    one, other = sorted(_luminance(COLOURS[each][theme]) for each in (name, ground))
    return (other + 0.05) / (one + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_and_drawings_stand_out_from_their_ground(theme: int) -> None:
    for ground in ("paper", "card"):
        assert {n: c for n in TEXT if (c := _contrast(n, ground, theme)) < 4.5} == {}
    assert {n: c for n in DRAWN if (c := _contrast(n, "paper", theme)) < 3} == {}
