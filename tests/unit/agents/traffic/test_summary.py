"""Figures of collectives, by role, of those that ended in the window."""

from __future__ import annotations

from agents.records import CollectiveRecord
from agents.traffic.summary import collective_figures


def record(engine: str, start_s: float, layers: float = 2.0) -> CollectiveRecord:
    return CollectiveRecord(
        kind="all-to-all", number=1, engine=engine, engines=4, layers=layers, tokens=3.0,
        size_bytes=100, t_start=start_s, t_dispatched=start_s + 1, t_end=start_s + 3,
    )  # fmt: skip


def test_collectives_are_counted_where_they_end() -> None:
    records = [record("pe0g0", 0.0), record("pe1g0", 8.0, 5.0), record("pe0g0", 20.0)]
    roles = {"pe0g0": "prefill", "pe1g0": "prefill", "de0g0": "decode"}
    found = collective_figures(records, roles, (10.0, 20.0))
    assert found.keys() == {"prefill"}
    figures = found["prefill"]
    assert (figures["count"], figures["fused_layers"], figures["bytes"]) == (1, 5.0, 100)
    assert figures["completion_s"]["p50"] == 3.0
    assert figures["dispatch_s"]["p50"] == 1.0
