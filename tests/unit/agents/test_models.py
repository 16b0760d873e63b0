"""Presets against DualPath's Table 1: cache/compute ratios in GB per PFLOP."""

from __future__ import annotations

import pytest

from agents.models import PRESETS, Attention, breakpoints


@pytest.mark.parametrize(
    ("name", "ratios"),
    [
        # At 16K, 32.7K and 64K tokens of context, 429 appended.
        ("qwen2.5-32b", (117, 187, 267)),
        ("qwen3-235b-a22b", (38.9, 50.7, 59.8)),
        ("gpt-oss-120b", (46.7, 70.7, 95.2)),
        ("ds-v3", (4.3, 4.8, 5.1)),
        ("ds-660b-fp8", (13.1, 23.2, 37.7)),
    ],
)
def test_cache_compute_ratio(name: str, ratios: tuple[float, ...]) -> None:
    found = [
        PRESETS[name].cache_compute_ratio(context, 429) * 1e15 / 1e9
        for context in (16 * 1024, 32_721, 64 * 1024)
    ]
    assert found == pytest.approx(ratios, rel=0.015)


def test_kv_bytes_of_the_main_model() -> None:
    assert PRESETS["ds-660b"].kv_bytes_per_token == 78_324
    assert PRESETS["ds-660b-fp8"].kv_bytes_per_token == 42_944
    assert PRESETS["ds-660b"].layers == 61


def test_windowed_attention_stops_growing() -> None:
    kind = Attention(10.0, window_tokens=2048)
    assert kind.flops(100) == 1000
    assert kind.flops(2048) == kind.flops(100_000) == 20_480


def test_breakpoints() -> None:
    assert breakpoints(PRESETS["ds-660b"]) == [0, 2048, 163_840]
    assert breakpoints(PRESETS["qwen2.5-32b"]) == [0, 131_072]
