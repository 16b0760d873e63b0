"""Presets against DualPath's Table 1: cache/compute ratios in GB per PFLOP."""

from __future__ import annotations

import dataclasses

import pytest

from agents.models import PRESETS, TABLE_1, Attention, DecodeStep, Model, breakpoints


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


@pytest.mark.parametrize("name", TABLE_1)
def test_ranges_of_table_1(name: str) -> None:
    found = [PRESETS[name].cache_compute_ratio(k * 1024, 429) * 1e6 for k in (16, 64)]
    assert found == pytest.approx(TABLE_1[name], rel=0.12 if name == "ds-v3" else 0.05)


def test_what_is_known_of_ds_27b_and_what_is_derived() -> None:
    model = PRESETS["ds-27b"]
    assert (model.layers, model.hidden_size) == (30, 2560)
    assert (model.routed_experts, model.active_experts) == (72, 6)
    assert model.kv_bytes_per_token == pytest.approx(21_000, rel=0.01)
    # 30 layers of 4·2560² of attention, and 8 of 74 parts of what is neither that nor embeddings.
    assert model.active_parameters == pytest.approx(3.55e9, rel=0.01)
    share = model.attention_flops(32_000) / PRESETS["ds-660b"].attention_flops(32_000)
    assert share == pytest.approx(30 / 61 * 2560 / 7168)
    assert {"active_parameters", "prefill_flops_per_s", "decode"} <= set(model.derived)
    assert model.fitted == ()


def test_speeds_are_marked_as_fitted_or_derived() -> None:
    for model in PRESETS.values():
        named = {*model.fitted, *model.derived}
        assert ("decode" in named) == (model.decode is not None)
        assert ("prefill_flops_per_s" in named) == (model.prefill_flops_per_s is not None)
        assert named <= {field.name for field in dataclasses.fields(Model)}


def test_a_dense_model_has_no_experts() -> None:
    dense = [model for model in PRESETS.values() if model.routed_experts == 0]
    assert [model.name for model in dense] == ["qwen2.5-32b", "tiny"]
    assert all(model.active_experts == 0 for model in dense)
    for model in PRESETS.values():
        assert model.hidden_size is not None and model.routed_experts is not None


def test_the_published_time_per_output_token_comes_out_where_it_was_fitted() -> None:
    model = PRESETS["ds-660b"]
    assert model.step_s(13, 33_150) == pytest.approx(39e-3)
    assert model.tpot_s == pytest.approx(39e-3)
    # 40 GiB hold four requests of 8.7 GB: no batch of 13.
    dense = PRESETS["qwen2.5-32b"]
    assert dense.tpot_s == dense.step_s(4, 33_150)
    assert PRESETS["gpt-oss-120b"].tpot_s is None


def test_a_decode_step_is_bound_by_memory_or_by_compute() -> None:
    step = DecodeStep(weight_bytes=1e9, hbm_bytes_per_s=1e12, overhead_s=0.5)
    assert step.duration_s(kv_bytes=1e9, compute_s=0.0) == pytest.approx(0.502)
    assert step.duration_s(kv_bytes=1e9, compute_s=0.1) == pytest.approx(0.6)


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
