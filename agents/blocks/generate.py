"""KV bytes made from (block hash, layer), and checked against them.

A Layer Block is a fixed row of distinct pseudo-random 64-bit words, every word XORed with one key
mixed from the block's hash and the layer.  So a wrong byte shows, and so does anything moved: words
inside a block (the row's words differ), layers, blocks (their keys differ).  A block that is
only partly filled holds the first bytes of each of its layers.

Two orders in memory, both block-major:

    Full Blocks  [blocks, all layers, layer_block_bytes]
    group form   [blocks, layers of the group, layer_block_bytes]; the last block may have less
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from agents.blocks.hashing import Hashes, finalise
from agents.blocks.layout import KVLayout

Bytes: TypeAlias = NDArray[np.uint8]

# Rows are made this many bytes at a time, so that every pass but the first finds them in cache.
_CHUNK_BYTES = 128 * 1024
_LAYER_STEP = np.uint64(0xD1342543DE82EF95)  # odd: no two layers of a block share a key
_ROW_SEED = np.uint64(0x2545F4914F6CDD1D)


class Mismatch(NamedTuple):
    """The first block and layer whose bytes are not those they should be."""

    block: int
    layer: int

    def __str__(self) -> str:
        return f"block {self.block}, layer {self.layer} holds wrong bytes"


@lru_cache(maxsize=8)
def _row(words: int) -> Hashes:
    row = finalise(np.arange(words, dtype=np.uint64) ^ _ROW_SEED)
    row.setflags(write=False)
    return row


def _keys(hashes: Hashes, layer_first: int, layer_count: int) -> Hashes:
    """Shape (blocks × layers,): the key of every Layer Block, block-major."""
    layers = np.arange(layer_first, layer_first + layer_count, dtype=np.uint64)
    return finalise(np.add.outer(hashes, (layers + np.uint64(1)) * _LAYER_STEP).ravel())


def _made(keys: Hashes, row_bytes: int) -> Iterator[tuple[int, Bytes]]:
    """The rows of these keys, some at a time: (number of the first, shape (n, `row_bytes`)).

    Each array is overwritten by the next.
    """
    row = _row(-(-row_bytes // 8))
    step = max(1, _CHUNK_BYTES // row.nbytes)
    scratch = np.empty((min(step, len(keys)), len(row)), dtype="<u8")
    as_bytes = scratch.view(np.uint8)
    for first in range(0, len(keys), step):
        part = keys[first : first + step]
        np.bitwise_xor(part[:, None], row, out=scratch[: len(part)])
        yield first, as_bytes[: len(part), :row_bytes]


def _rows(memory: memoryview, at: int, count: int, row_bytes: int) -> Bytes:
    """Memory as `count` rows."""
    flat = np.frombuffer(memory, np.uint8, count * row_bytes, at)
    return flat.reshape(count, row_bytes)


class _Part(NamedTuple):
    """Rows of one width: the whole blocks of a group, or its partly filled last one."""

    first_block: int
    keys: Hashes
    offset: int
    row_bytes: int


def _parts(
    layout: KVLayout, hashes: Hashes, layer_first: int, layer_count: int, last_block_tokens: int
) -> list[_Part]:
    if not 0 <= layer_first <= layer_first + layer_count <= layout.layers:
        raise ValueError(
            f"layers {layer_first}…{layer_first + layer_count} of {layout.layers} do not exist"
        )
    if not 0 < last_block_tokens <= layout.block_tokens:
        raise ValueError(f"a block of {layout.block_tokens} tokens filled by {last_block_tokens}")
    size = layout.layer_block_bytes
    blocks = len(hashes)
    whole = blocks if last_block_tokens == layout.block_tokens else max(0, blocks - 1)
    keys = _keys(hashes, layer_first, layer_count)
    rows = whole * layer_count
    parts = [_Part(0, keys[:rows], 0, size)]
    if whole < blocks:
        tail = layout.token_bytes(last_block_tokens)
        parts.append(_Part(whole, keys[rows:], rows * size, tail))
    return [part for part in parts if len(part.keys) and part.row_bytes]


def _must_hold(memory: memoryview, size: int) -> None:
    if memory.nbytes != size:
        raise ValueError(f"{memory.nbytes} bytes of memory for {size} bytes of KV")


def fill_group(
    layout: KVLayout,
    hashes: Hashes,
    layer_first: int,
    layer_count: int,
    last_block_tokens: int,
    out: memoryview,
) -> None:
    """Make the KV of some layers, in group form.

    Args:
        layout: of the blocks.
        hashes: shape (blocks,).
        layer_first, layer_count: the layers.
        last_block_tokens: tokens in the last block, 1 … `layout.block_tokens`.
        out: exactly as large as the result, see `KVLayout.group_bytes`.

    Raises:
        ValueError: sizes or layers do not fit each other.
    """
    _must_hold(out, layout.group_bytes(layer_count, len(hashes), last_block_tokens))
    for part in _parts(layout, hashes, layer_first, layer_count, last_block_tokens):
        target = _rows(out, part.offset, len(part.keys), part.row_bytes)
        for first, made in _made(part.keys, part.row_bytes):
            target[first : first + len(made)] = made


def fill_full(layout: KVLayout, hashes: Hashes, out: memoryview) -> None:
    """Make Full Blocks, one after the other; ValueError if `out` has another size."""
    fill_group(layout, hashes, 0, layout.layers, layout.block_tokens, out)


def check_group(
    layout: KVLayout,
    hashes: Hashes,
    layer_first: int,
    layer_count: int,
    last_block_tokens: int,
    memory: memoryview,
) -> Mismatch | None:
    """Compare every byte of some layers, in group form, with what `fill_group` makes.

    Args and errors are those of `fill_group`.

    Returns:
        The first Layer Block in memory that is wrong (block counted from 0 in `hashes`, layer of
        the model), or None.
    """
    _must_hold(memory, layout.group_bytes(layer_count, len(hashes), last_block_tokens))
    for part in _parts(layout, hashes, layer_first, layer_count, last_block_tokens):
        found = _rows(memory, part.offset, len(part.keys), part.row_bytes)
        for first, made in _made(part.keys, part.row_bytes):
            wrong = made != found[first : first + len(made)]
            if wrong.any():
                row = first + int(wrong.argmax()) // part.row_bytes
                block, layer = divmod(row, layer_count)
                return Mismatch(part.first_block + block, layer_first + layer)
    return None


def _full_and_group(
    layout: KVLayout,
    full: memoryview,
    blocks: int,
    layer_first: int,
    layer_count: int,
    group: memoryview,
) -> tuple[Bytes, Bytes]:
    """Both sides of the strided copy, shape (blocks, bytes of the group's layers)."""
    if not 0 <= layer_first <= layer_first + layer_count <= layout.layers:
        raise ValueError(
            f"layers {layer_first}…{layer_first + layer_count} of {layout.layers} do not exist"
        )
    size = layout.layer_block_bytes
    whole = _rows(full, 0, blocks, layout.full_block_bytes)
    part = whole[:, layer_first * size : (layer_first + layer_count) * size]
    return part, _rows(group, 0, blocks, layer_count * size)


def gather_group(
    layout: KVLayout,
    full: memoryview,
    blocks: int,
    layer_first: int,
    layer_count: int,
    out: memoryview,
) -> None:
    """Copy some layers out of Full Blocks into group form: the one copy of KV in memory.

    Args:
        layout: of the blocks.
        full: `blocks` Full Blocks, at its start.
        layer_first, layer_count: the layers.
        out: the group is written to its start.

    Raises:
        ValueError: the layers do not exist, or a side is too small.
    """
    source, target = _full_and_group(layout, full, blocks, layer_first, layer_count, out)
    target[:] = source


def scatter_group(
    layout: KVLayout,
    group: memoryview,
    blocks: int,
    layer_first: int,
    layer_count: int,
    full: memoryview,
) -> None:
    """The inverse of `gather_group`: some layers, in group form, into Full Blocks.

    Only whole blocks are copied: `group` may have a partly filled block after them.
    """
    target, source = _full_and_group(layout, full, blocks, layer_first, layer_count, group)
    target[:] = source
