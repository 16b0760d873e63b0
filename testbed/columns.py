"""Rows of text as aligned columns, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence


def columns(rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> list[str]:
    """Lines with columns as wide as their widest cell, two spaces apart.

    Args:
        rows: cells; every row has as many.
        header: printed first, if there is one.
    """
    shown = [header, *rows] if header else list(rows)
    if not shown:
        return []
    widths = [max(len(row[column]) for row in shown) for column in range(len(shown[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in shown
    ]
