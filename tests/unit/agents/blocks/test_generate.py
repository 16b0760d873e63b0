"""KV bytes: the same each time they are made, and nothing wrong with them goes unseen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from agents.blocks.generate import (
    Mismatch,
    check_group,
    fill_full,
    fill_group,
    gather_group,
    scatter_group,
)
from agents.blocks.hashing import Hashes, stream_hashes, stream_id
from agents.blocks.layout import KVLayout
from tests.unit.agents.full_blocks import check_full

layouts = st.builds(KVLayout, st.integers(1, 9), st.integers(1, 100), st.just(64))


def hashes_of(blocks: int) -> Hashes:
    return stream_hashes(stream_id("test"), blocks)


def made_full(layout: KVLayout, hashes: Hashes) -> memoryview:
    out = memoryview(bytearray(len(hashes) * layout.full_block_bytes))
    fill_full(layout, hashes, out)
    return out


def made_group(
    layout: KVLayout, hashes: Hashes, first: int, count: int, tokens: int = 64
) -> memoryview:
    out = memoryview(bytearray(layout.group_bytes(count, len(hashes), tokens)))
    fill_group(layout, hashes, first, count, tokens, out)
    return out


@given(layouts, st.integers(0, 40))
def test_what_is_made_passes_the_check(layout: KVLayout, blocks: int) -> None:
    hashes = hashes_of(blocks)
    assert check_full(layout, hashes, made_full(layout, hashes)) is None


def test_more_rows_than_one_chunk() -> None:
    layout, hashes = KVLayout(61, 82), hashes_of(300)
    memory = made_full(layout, hashes)
    assert check_full(layout, hashes, memory) is None
    memory[-1] ^= 1
    assert check_full(layout, hashes, memory) == Mismatch(299, 60)


def test_one_row_larger_than_a_chunk() -> None:
    layout, hashes = KVLayout(2, 300_001), hashes_of(2)
    memory = made_full(layout, hashes)
    assert check_full(layout, hashes, memory) is None
    memory[300_001] ^= 0x80
    assert check_full(layout, hashes, memory) == Mismatch(0, 1)


@given(layouts, st.integers(1, 12), st.integers(1, 64), st.data())
def test_a_group_is_the_strided_copy_of_full_blocks(
    layout: KVLayout, blocks: int, tokens: int, data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, layout.layers - 1))
    count = data.draw(st.integers(1, layout.layers - first))
    hashes = hashes_of(blocks)
    size = layout.layer_block_bytes
    full = np.frombuffer(made_full(layout, hashes), np.uint8).reshape(blocks, -1)
    rows = full[:, first * size : (first + count) * size].reshape(blocks, count, size)
    expected = rows[:-1].tobytes() + rows[-1, :, : layout.token_bytes(tokens)].tobytes()
    memory = made_group(layout, hashes, first, count, tokens)
    assert bytes(memory) == expected
    assert check_group(layout, hashes, first, count, tokens, memory) is None


@given(layouts, st.integers(1, 12), st.integers(1, 64), st.data())
def test_every_wrong_byte_is_found_where_it_is(
    layout: KVLayout, blocks: int, tokens: int, data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, layout.layers - 1))
    count = data.draw(st.integers(1, layout.layers - first))
    memory = made_group(layout, hashes_of(blocks), first, count, tokens)
    assume(len(memory))
    at = data.draw(st.integers(0, len(memory) - 1))
    memory[at] ^= data.draw(st.integers(1, 255))
    whole = (blocks - 1) * count * layout.layer_block_bytes
    if at < whole:
        block, layer = divmod(at // layout.layer_block_bytes, count)
    else:
        block, layer = blocks - 1, (at - whole) // layout.token_bytes(tokens)
    wrong = check_group(layout, hashes_of(blocks), first, count, tokens, memory)
    assert wrong == Mismatch(block, first + layer)
    assert str(wrong) == f"block {block}, layer {first + layer} holds wrong bytes"


def swapped(memory: memoryview, a: int, b: int, size: int) -> memoryview:
    data = bytearray(memory)
    data[a : a + size], data[b : b + size] = data[b : b + size], data[a : a + size]
    return memoryview(data)


@pytest.mark.parametrize("size", [8, 45, 82, 328])
@pytest.mark.parametrize(
    "swap",
    [
        pytest.param(lambda m, s: swapped(m, 0, s, s), id="layers"),
        pytest.param(lambda m, s: swapped(m, 0, 5 * s, 5 * s), id="blocks"),
        pytest.param(lambda m, s: swapped(m, 5 * s, 6 * s, s), id="layers of another block"),
    ],
)
def test_what_is_swapped_is_found(size: int, swap: Callable[[memoryview, int], memoryview]) -> None:
    layout, hashes = KVLayout(5, size), hashes_of(4)
    assert check_full(layout, hashes, swap(made_full(layout, hashes), size)) is not None


@given(st.integers(0, 40), st.integers(0, 40))
def test_words_swapped_inside_a_layer_block_are_found(a: int, b: int) -> None:
    assume(a != b)
    layout, hashes = KVLayout(1, 41 * 8), hashes_of(1)
    memory = swapped(made_full(layout, hashes), 8 * a, 8 * b, 8)
    assert check_full(layout, hashes, memory) == Mismatch(0, 0)


def test_the_kv_of_other_blocks_is_wrong() -> None:
    layout = KVLayout(3, 45)
    memory = made_full(layout, hashes_of(4))
    assert check_full(layout, hashes_of(5)[1:], memory) == Mismatch(0, 0)


FIXED = "1fc0d4aacecbca0247818677c40a271d8c444a2f85582286345ddfb2b0ea7ac7664f2e7dba94ba60de176f2f"


def test_the_bytes_are_fixed() -> None:
    """What one version has stored, another can check."""
    memory = made_full(KVLayout(2, 11), np.array([1, 2**64 - 1], "<u8"))
    assert bytes(memory).hex() == FIXED


@given(layouts, st.integers(0, 12), st.data())
def test_scatter_undoes_gather(layout: KVLayout, blocks: int, data: st.DataObject) -> None:
    step = data.draw(st.integers(1, layout.layers))
    full = made_full(layout, hashes_of(blocks))
    back = memoryview(bytearray(len(full)))
    for first in range(0, layout.layers, step):
        count = min(step, layout.layers - first)
        group = memoryview(bytearray(layout.group_bytes(count, blocks, 64)))
        gather_group(layout, full, blocks, first, count, group)
        assert check_group(layout, hashes_of(blocks), first, count, 64, group) is None
        scatter_group(layout, group, blocks, first, count, back)
    assert bytes(back) == bytes(full)


def test_scatter_leaves_a_partly_filled_block_out() -> None:
    layout, hashes = KVLayout(4, 45), hashes_of(3)
    group = made_group(layout, hashes, 0, 4, tokens=10)
    full = memoryview(bytearray(2 * layout.full_block_bytes))
    scatter_group(layout, group, 2, 0, 4, full)
    assert check_full(layout, hashes[:2], full) is None


def test_sizes_that_do_not_fit_are_refused() -> None:
    layout, hashes = KVLayout(4, 45), hashes_of(2)
    with pytest.raises(ValueError, match="bytes of memory"):
        fill_full(layout, hashes, memoryview(bytearray(2 * layout.full_block_bytes + 1)))
    with pytest.raises(ValueError, match="do not exist"):
        made_group(layout, hashes, 3, 2)
    with pytest.raises(ValueError, match="filled by 0"):
        made_group(layout, hashes, 0, 1, tokens=0)
    with pytest.raises(ValueError, match="buffer"):
        gather_group(layout, memoryview(bytearray(10)), 2, 0, 1, memoryview(bytearray(90)))
    with pytest.raises(ValueError, match="do not exist"):
        gather_group(layout, made_full(layout, hashes), 2, 4, 1, memoryview(bytearray(90)))
