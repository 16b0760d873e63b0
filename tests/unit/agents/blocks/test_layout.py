"""Sizes of blocks, whatever the layout."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.blocks.layout import KVLayout, LayerGroup, from_model
from testbed.errors import ScenarioError


def test_a_full_block_is_its_layer_blocks() -> None:
    assert KVLayout(61, 82).full_block_bytes == 5002


def test_tokens_of_a_block_share_its_bytes() -> None:
    layout = KVLayout(61, 45, 64)
    assert layout.token_bytes(0) == 0
    assert layout.token_bytes(1) == 0  # 45/64 of a byte
    assert layout.token_bytes(63) == 44
    assert layout.token_bytes(64) == 45


def test_a_group_ends_with_the_tokens_of_its_last_block() -> None:
    layout = KVLayout(61, 80, 64)
    assert layout.group_bytes(10, 0, 64) == 0
    assert layout.group_bytes(10, 3, 64) == 10 * 3 * 80
    assert layout.group_bytes(10, 3, 16) == 10 * (2 * 80 + 20)


@given(st.integers(1, 70), st.integers(1, 80))
def test_groups_are_all_layers_once(layers: int, layers_per_transfer: int) -> None:
    groups = KVLayout(layers, 45).groups(layers_per_transfer)
    assert [group.index for group in groups] == list(range(len(groups)))
    covered = [layer for g in groups for layer in range(g.first, g.first + g.count)]
    assert covered == list(range(layers))
    assert {group.count for group in groups[:-1]} <= {layers_per_transfer}


def test_the_last_group_may_be_smaller() -> None:
    last = KVLayout(61, 45).groups(8)[-1]
    assert last == LayerGroup(7, 56, 5)
    with pytest.raises(ScenarioError, match="0 layers per transfer"):
        KVLayout(61, 45).groups(0)


@given(
    st.floats(1, 1e6),
    st.integers(1, 100),
    st.floats(0.5, 1e7),
)
def test_a_scaled_layout_says_its_real_scale(
    kv_bytes_per_token: float, layers: int, bytes_scale: float
) -> None:
    if round(kv_bytes_per_token * 64 / layers / bytes_scale) < 1:
        with pytest.raises(ScenarioError, match="leaves nothing of a Layer Block"):
            from_model(kv_bytes_per_token, layers, bytes_scale)
        return
    layout, realised = from_model(kv_bytes_per_token, layers, bytes_scale)
    assert layout.full_block_bytes * realised == pytest.approx(kv_bytes_per_token * 64)
    if layout.layer_block_bytes > 1:
        assert abs(realised / bytes_scale - 1) <= 0.5 / (layout.layer_block_bytes - 0.5)


@pytest.mark.parametrize("sizes", [(0, 45, 64), (61, 0, 64), (61, 45, 0)])
def test_a_layout_without_bytes_is_refused(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ScenarioError, match="must be 1 or more"):
        KVLayout(*sizes)


def test_a_scale_of_nothing_is_refused() -> None:
    with pytest.raises(ScenarioError, match="above 0"):
        from_model(42_944, 61, 0)
