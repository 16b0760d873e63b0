"""What standard output is: a terminal, and one whose user wants colours."""

from __future__ import annotations

import os
import sys


def is_terminal() -> bool:
    """Whether somebody watches standard output."""
    return sys.stdout.isatty()


def wants_colour() -> bool:
    """Whether colours are wanted there: a NO_COLOR that is not empty says no (no-color.org)."""
    return is_terminal() and not os.environ.get("NO_COLOR")
