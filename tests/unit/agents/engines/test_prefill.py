"""When a request's hits were read: from the first read's start to the last one's end."""

from __future__ import annotations

import pytest

from agents.control.messages import Loaded
from agents.engines.node import ReadError, ReadTimes
from agents.engines.prefill import _span


def test_a_split_reads_from_the_first_start_to_the_last_end() -> None:
    assert _span([Loaded(7, 2.0, 5.0), ReadTimes(1.0, 3.0)]) == ReadTimes(1.0, 5.0)
    assert _span([ReadTimes(1.0, 3.0)]) == ReadTimes(1.0, 3.0)
    assert _span([]) == ReadTimes(0.0, 0.0)


def test_a_read_that_failed_is_raised() -> None:
    with pytest.raises(ReadError, match="not stored"):
        _span([Loaded(7, 2.0, 5.0), ReadError("not stored")])
