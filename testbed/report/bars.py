"""Bars that the report draws itself: caps, where time went, the lives of chosen requests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from testbed.report import svg
from testbed.report.requests import Chosen, Part, Split
from testbed.report.words import shown

WIDTH = 1000.0
_LEFT = 190.0
_ROW = 22.0
_BAR = 14.0
_MOST_CAP = 4.0  # a bar longer than that many times what was reached is cut
# Waiting is pale, work is full; one hue for storage, one for engines, one for the fabric.
PART_COLOURS = {
    0: ("grey", 0.45),
    1: ("grey", 0.8),
    2: ("blue", 0.4),
    3: ("blue", 1.0),
    4: ("green", 0.4),
    5: ("amber", 1.0),
    6: ("green", 1.0),
    7: ("pink", 0.55),
    8: ("pink", 1.0),
    9: ("grey", 0.6),
}


def part_colour(number: int) -> tuple[str, float]:
    """Colour and opacity of the n-th part of a request's time."""
    return PART_COLOURS[number % len(PART_COLOURS)]


def nice_step(most: float, steps: int = 6) -> float:
    """1, 2 or 5 times a power of ten, of which about `steps` make `most`."""
    if not most > 0:
        return 1.0
    rough = most / steps
    power = 10 ** math.floor(math.log10(rough))
    return float(next(power * m for m in (1, 2, 5, 10) if power * m >= rough * 0.999))


def caps(
    limits: Mapping[str, float | None],
    predicted: Mapping[str, float | None],
    measured: Mapping[str, float | None],
    bound_by: Mapping[str, str],
) -> str:
    """What each resource would allow, and what the variants were predicted to reach and reached.

    Args:
        limits: resource -> turns/s; None where it is no limit.
        predicted, measured: variant -> turns/s.
        bound_by: variant -> what limits it, for people.
    """
    finite = [v for m in (limits, predicted, measured) for v in m.values() if v]
    if not finite:
        return ""
    # A cap far above all the rest would squash it: it is cut, and says what it is.
    ordered = sorted(finite)
    top = max([*(v for m in (predicted, measured) for v in m.values() if v), ordered[0]])
    top = min(ordered[-1], _MOST_CAP * top)
    scale = (WIDTH - _LEFT - 170) / top
    parts, y = [], 6.0
    rows = sorted(limits.items(), key=lambda cap: cap[1] if cap[1] else math.inf)
    for number, (name, cap) in enumerate(rows):
        parts.append(svg.text(_LEFT - 8, y + 11, name, text_anchor="end"))
        if not cap:
            parts.append(svg.text(_LEFT + 4, y + 11, "no limit here", fill="soft"))
        else:
            length = min(cap, top) * scale
            lowest = number == 0
            parts.append(
                svg.rect(
                    _LEFT, y, length, _BAR, fill=svg.colour("use3" if lowest else "use1"), rx=1
                )
            )
            cut = " (bar cut)" if cap > top else ""
            said = f"{shown('_per_s', cap)}{cut}{', the lowest' if lowest else ''}"
            parts.append(svg.text(_LEFT + length + 6, y + 11, said))
        y += _ROW
    y += 4
    for name in {**predicted, **measured}:
        parts.append(svg.text(_LEFT - 8, y + 11, name, text_anchor="end", font_weight="600"))
        parts.append(svg.line(_LEFT, y + 7, _LEFT + top * scale, y + 7, "line"))
        ends, reached = [_LEFT], measured.get(name)
        if foreseen := predicted.get(name):
            at = _LEFT + min(foreseen, top) * scale
            parts.append(
                svg.element(
                    "path", svg.title(f"predicted {shown('_per_s', foreseen)}"),
                    d=f"M{at:.1f} {y:.1f}l7 7-7 7-7-7z",
                    fill=svg.colour("paper"), stroke=svg.colour("red"), stroke_width="1.8",
                )
            )  # fmt: skip
            ends.append(at)
        if reached:
            at = _LEFT + min(reached, top) * scale
            parts.append(
                svg.element(
                    "circle", svg.title(f"measured {shown('_per_s', reached)}"),
                    cx=at, cy=y + 7, r="5", fill=svg.colour("red"),
                )
            )  # fmt: skip
            ends.append(at)
        said = "not measured" if reached is None else shown("_per_s", reached)
        bound = f", bound by {bound_by[name]}" if bound_by.get(name) else ""
        parts.append(
            svg.text(
                max(ends) + 12, y + 11, f"{said}{bound}",
                paint_order="stroke", stroke=svg.colour("paper"), stroke_width="4",
            )
        )  # fmt: skip
        y += _ROW
    return svg.drawing(WIDTH, y + 4, "".join(parts), "Caps of the turn rate, and what was reached")


def split(of_variants: Mapping[str, Sequence[Split]]) -> str:
    """Where time went until the answer: a bar for each group of requests of each variant."""
    longest = max((s.seconds for each in of_variants.values() for s in each), default=0.0)
    if not longest > 0:
        return ""
    scale = (WIDTH - _LEFT - 130) / longest
    parts, y = [], 0.0
    for variant, each in of_variants.items():
        for one in each:
            said = f"{variant}, {one.of} ({one.requests})"
            parts.append(svg.text(_LEFT - 8, y + 14, said, text_anchor="end"))
            parts.append(_stack(one.parts, _LEFT, y + 3, scale))
            parts.append(
                svg.text(_LEFT + one.seconds * scale + 6, y + 14, shown("_s", one.seconds))
            )
            y += _ROW
        y += 4
    y, axis = _axis(y, longest, scale)
    return svg.drawing(WIDTH, y, axis + "".join(parts), "Where the time to the answer went")


def waterfall(
    chosen: Sequence[Chosen], labels: Mapping[int, tuple[str, str]], answer: int, longest_s: float
) -> str:
    """The lives of chosen requests, each from its submission on.

    Args:
        chosen: in order.
        labels: index in `chosen` -> (what it is, more of it).
        answer: how many parts there are until the answer; it is marked after them.
        longest_s: what the axis reaches to, the same for all that are to be compared.
    """
    if not chosen or not longest_s > 0:
        return ""
    scale = (WIDTH - _LEFT - 80) / longest_s
    parts, y = [], 0.0
    for number, one in enumerate(chosen):
        name, more = labels[number]
        colour = "red" if one.why == "failed" else "fg"
        parts.append(
            svg.text(_LEFT - 8, y + 13, name, fill=colour, text_anchor="end", font_weight="600")
        )
        parts.append(
            svg.text(
                _LEFT, y + 30, more, fill="soft", font_size="10",
                paint_order="stroke", stroke=svg.colour("paper"), stroke_width="3",
            )
        )  # fmt: skip
        parts.append(_stack(one.parts, _LEFT, y + 3, scale))
        until = sum(part.seconds for part in one.parts[:answer])
        if one.why != "failed" and until > 0:
            at = _LEFT + until * scale
            parts.append(svg.line(at, y, at, y + _BAR + 6, "fg", 1.5))
        y += 38
    y, axis = _axis(y, longest_s, scale)
    return svg.drawing(WIDTH, y, axis + "".join(parts), "Chosen requests, phase by phase")


def _stack(parts: Sequence[Part], x: float, y: float, scale: float) -> str:
    drawn = []
    for number, part in enumerate(parts):
        length = part.seconds * scale
        if length <= 0:
            continue
        name, opacity = part_colour(number)
        drawn.append(
            svg.rect(
                x, y, max(length, 0.4), _BAR, svg.title(f"{part.name} {_exact(part.seconds)}"),
                fill=svg.colour(name), fill_opacity=f"{opacity}",
            )
        )  # fmt: skip
        x += length
    return "".join(drawn)


def _exact(seconds: float) -> str:
    return f"{1000 * seconds:.1f}\u202fms" if seconds < 1 else f"{seconds:.3f}\u202fs"


def _axis(y: float, most: float, scale: float) -> tuple[float, str]:
    """Where the drawing ends with its axis, and the axis."""
    step = nice_step(most)
    parts = []
    for number in range(int(most / step) + 1):
        x = _LEFT + number * step * scale
        parts.append(svg.line(x, 0, x, y + 3, "line"))
        parts.append(
            svg.text(x, y + 16, shown("_s", number * step) if number else "0",
                     fill="soft", text_anchor="middle")
        )  # fmt: skip
    return y + 22, "".join(parts)
