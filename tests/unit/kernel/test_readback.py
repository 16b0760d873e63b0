"""Reading back: what a thread met is not lost with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.kernel.readback import read


def test_an_error_of_a_thread_is_raised() -> None:
    """Or a namespace that could not be read would be one with nothing in it."""
    with Path("/dev/null").open() as file, pytest.raises(OSError, match="Invalid argument"):
        read({"h1": file.fileno()})
