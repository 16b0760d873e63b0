"""When prefill GPUs wait for KV: intervals drawn by hand."""

from __future__ import annotations

from typing import Any

import pytest

from agents.records import RequestRecord
from agents.waiting import gpu_wait_share

WINDOW = (0.0, 100.0)


def record(allocated: float, start: float, first: float, **more: Any) -> RequestRecord:
    """A request with its buffers, its prefill's start and its first token at these times."""
    named = dict.fromkeys(RequestRecord.__struct_fields__, 0.0) | {
        "t_allocated": allocated,
        "t_prefill_start": start,
        "t_first_token": first,
        "prefill": "pe0g0",
        "error": "",
    }
    return RequestRecord(**(named | more))  # type: ignore[arg-type]


def share(*records: RequestRecord, compute_s: float = 4.0) -> float | None:
    return gpu_wait_share(records, WINDOW, lambda _: compute_s)


def test_one_request_waits_while_it_is_read_and_while_layers_arrive() -> None:
    # Buffers at 0, storage reads until 6, layers from 6 to 12 of which 4 s are computed.
    assert share(record(0, 6, 12)) == pytest.approx(1 - 4 / 12)


def test_one_computes_while_the_other_waits() -> None:
    # Eight seconds are computed in the twelve in which either was there.
    assert share(record(0, 0, 6), record(2, 6, 12)) == pytest.approx(1 - 8 / 12)


def test_time_without_requests_is_not_waiting() -> None:
    assert share(record(0, 0, 4), record(50, 50, 54)) == pytest.approx(0)


def test_engines_are_apart() -> None:
    # Each has one request; on one engine they would overlap.
    both = (record(0, 0, 8), record(0, 0, 8, prefill="pe0g1"))
    assert share(*both) == pytest.approx(0.5)


def test_only_the_window_counts() -> None:
    # Half of the prefill lies before it: 2 of its 4 s of computing are in the 5 s inside.
    assert share(record(-5, -5, 5)) == pytest.approx(1 - 2 / 5)
    assert share(record(-20, -15, -10)) is None


def test_a_failed_request_computes_nothing_that_counts() -> None:
    assert share(record(0, 6, 12, error="gone")) is None


def test_an_engine_is_never_busier_than_it_was_there() -> None:
    assert share(record(0, 0, 2)) == 0.0
