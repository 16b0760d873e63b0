"""What a page must have for readers who do not see it, or have no pointer (WCAG 2.2)."""

from __future__ import annotations

from html.parser import HTMLParser

_HEADINGS = ("h1", "h2", "h3", "h4")


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.levels: list[int] = []
        self.unnamed: list[str] = []
        self.drawings = 0
        self.landmarks: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        if tag in _HEADINGS:
            self.levels.append(int(tag[1]))
        if tag in ("header", "main", "nav"):
            self.landmarks.append(tag)
        drawing = tag == "svg" and known.get("aria-hidden") != "true"
        self.drawings += drawing
        needs_name = drawing or "tabindex" in known
        if needs_name and not (known.get("role") and known.get("aria-label")):
            self.unnamed.append(f"{tag} {known}")
        if tag == "th" and not known.get("scope"):
            self.unnamed.append(f"th {known}")


def check(page: str, *, drawings: int) -> None:
    """Headings begin with one h1 and skip no level; drawings and what scrolls have names.

    Args:
        page: its text.
        drawings: how many it has at least.
    """
    reader = _Reader()
    reader.feed(page.partition("<body>")[2].partition("<script")[0])
    assert reader.levels[0] == 1 and reader.levels.count(1) == 1
    steps = zip(reader.levels, reader.levels[1:], strict=False)
    assert [pair for pair in steps if pair[1] > pair[0] + 1] == []
    assert reader.unnamed == []
    assert reader.drawings >= drawings
    assert {"header", "main"} <= set(reader.landmarks)
