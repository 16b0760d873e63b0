"""What standard output is: a terminal, and one whose user wants colours."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import Any

_PLAIN_WIDTH = 160


def is_terminal() -> bool:
    """Whether somebody watches standard output."""
    return sys.stdout.isatty()


def wants_colour() -> bool:
    """Whether colours are wanted there: a NO_COLOR that is not empty says no (no-color.org)."""
    return is_terminal() and not os.environ.get("NO_COLOR")


def rendered(parts: Sequence[Any]) -> list[str]:
    """Texts with rich's markup, and tables, as lines: with colours if the user wants any.

    On a terminal they are as wide as that.
    """
    from rich.console import Console  # most verbs need none

    terminal = is_terminal()
    console = Console(
        file=io.StringIO(),
        force_terminal=wants_colour(),
        width=None if terminal else _PLAIN_WIDTH,
        highlight=False,
    )
    with console.capture() as captured:
        for part in parts:
            console.print(part, soft_wrap=isinstance(part, str) and not terminal)
    return [line.rstrip() for line in captured.get().rstrip("\n").splitlines()]
