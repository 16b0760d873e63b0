"""SVG elements as text: what the report draws itself.

Colours are CSS variables with a value for light paper: in the page they follow its theme.  A file
of its own (`alone`) has the values, which every program that draws SVG understands.
"""

from __future__ import annotations

import re
from html import escape

# Name -> (on light paper, on dark).  Hues of Okabe and Ito: told apart by everybody.
COLOURS: dict[str, tuple[str, str]] = {
    "fg": ("#1b1b1b", "#e9e9e7"),
    "soft": ("#5c5f66", "#a4a7ad"),
    "line": ("#d5d7db", "#3c4046"),
    "card": ("#f5f6f7", "#1e2125"),
    "paper": ("#ffffff", "#141619"),
    "blue": ("#0072b2", "#4da6e0"),
    "sky": ("#3a91c6", "#9ad2f5"),
    "red": ("#bb4a00", "#ff8a4c"),
    "amber": ("#c17f00", "#ffc24d"),
    "green": ("#007e5b", "#3cc79a"),
    "pink": ("#a9518a", "#d98bc4"),
    "grey": ("#8b8f96", "#82868d"),
    "use0": ("#d3e3f1", "#2a4058"),
    "use1": ("#9cc4e2", "#2f6597"),
    "use2": ("#4f97c9", "#4a94d0"),
    "use3": ("#14609c", "#93c9f3"),
    "full": ("#bb4a00", "#ff8a4c"),
}
_NAMES = {light: name for name, (light, _) in reversed(COLOURS.items())}


def colour(name: str) -> str:
    """A colour by its name, for an attribute."""
    return f"var(--{name},{COLOURS[name][0]})"


def alone(drawn: str) -> str:
    """A drawing of the page for a file of its own."""
    return re.sub(r"var\(--\w+, ?(#[0-9a-f]{6})\)", r"\1", drawn)


def themed(drawn: str) -> str:
    """The same the other way: colours of the light palette become variables of the page."""
    return re.sub("#[0-9a-f]{6}", lambda found: _variable(found[0]), drawn)


def _variable(light: str) -> str:
    name = _NAMES.get(light)
    return light if name is None else f"var(--{name}, {light})"


def element(tag: str, content: str = "", **attributes: object) -> str:
    """An element; `content` is markup, attributes are escaped.  `_` in a name is `-`."""
    parts, style = [tag], []
    for name, value in attributes.items():
        if value is None:
            continue
        shown = f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
        name = name.rstrip("_").replace("_", "-")
        # A variable is CSS: attributes of presentation do not take one everywhere.
        if shown.startswith("var("):
            style.append(f"{name}:{shown}")
        else:
            parts.append(f'{name}="{escape(shown)}"')
    if style:
        parts.append(f'style="{";".join(style)}"')
    return f"<{' '.join(parts)}>{content}</{tag}>" if content else f"<{' '.join(parts)}/>"


def text(x: float, y: float, said: str, *, fill: str = "fg", **attributes: object) -> str:
    """A line of text."""
    return element("text", escape(said), x=x, y=y, fill=colour(fill), **attributes)


def title(said: str) -> str:
    """What appears when the pointer rests on an element; goes inside of it."""
    return element("title", escape(said))


def rect(
    x: float, y: float, width: float, height: float, inside: str = "", **attributes: object
) -> str:
    """A rectangle."""
    return element("rect", inside, x=x, y=y, width=width, height=height, **attributes)


def line(x1: float, y1: float, x2: float, y2: float, stroke: str, width: float = 1.0) -> str:
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=colour(stroke), stroke_width=width)


def drawing(width: float, height: float, content: str, said: str) -> str:
    """A whole drawing.

    Args:
        width, height: in its own units, about pixels; it is never shown larger.
        said: what it shows, for those who do not see it.
    """
    return element(
        "svg",
        content,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        width=f"{width:.0f}",
        height=f"{height:.0f}",
        role="img",
        aria_label=said,
        font_family="system-ui, sans-serif",
        font_size="11",
    )
