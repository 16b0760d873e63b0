"""Sizes of KV blocks in their two layouts.

A Layer Block is the KV of `block_tokens` tokens in one layer; a Full Block is the plain
concatenation of its Layer Blocks, first layer first (DualPath, appendix A.5).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import msgspec

from testbed.errors import ScenarioError


class LayerGroup(msgspec.Struct, frozen=True):
    """Layers `first` … `first + count - 1` travel together; `index` counts the groups."""

    index: int
    first: int
    count: int


class KVLayout(msgspec.Struct, frozen=True):
    """How many bytes a block has.

    Args:
        layers: of the model.
        layer_block_bytes: bytes of one Layer Block.
        block_tokens: tokens of a block.
    """

    layers: int
    layer_block_bytes: int
    block_tokens: int = 64

    def __post_init__(self) -> None:
        if min(self.layers, self.layer_block_bytes, self.block_tokens) < 1:
            raise ScenarioError(
                f"a KV layout of {self.layers} layers, {self.layer_block_bytes} bytes per Layer"
                f" Block and {self.block_tokens} tokens per block",
                hint="each of them must be 1 or more",
            )

    @property
    def full_block_bytes(self) -> int:
        """Bytes of one Full Block."""
        return self.layers * self.layer_block_bytes

    def token_bytes(self, tokens: int) -> int:
        """Bytes in one layer of the first `tokens` tokens of a block, rounded down."""
        return tokens * self.layer_block_bytes // self.block_tokens

    def group_bytes(self, layer_count: int, blocks: int, last_block_tokens: int) -> int:
        """Bytes of a layer group of `blocks` blocks, the last of which may be partly filled."""
        if blocks == 0:
            return 0
        whole = (blocks - 1) * self.layer_block_bytes
        return layer_count * (whole + self.token_bytes(last_block_tokens))

    def groups(self, layers_per_transfer: int) -> list[LayerGroup]:
        """The layer groups, in the order of computation; the last may be smaller."""
        if layers_per_transfer < 1:
            raise ScenarioError(
                f"{layers_per_transfer} layers per transfer", hint="it must be 1 or more"
            )
        starts = range(0, self.layers, layers_per_transfer)
        return [
            LayerGroup(index, first, min(layers_per_transfer, self.layers - first))
            for index, first in enumerate(starts)
        ]


class ScaledLayout(NamedTuple):
    """A layout in whole bytes, and the byte scale that it really has."""

    layout: KVLayout
    realised_scale: float


def from_model(
    kv_bytes_per_token: float, layers: int, bytes_scale: float, block_tokens: int = 64
) -> ScaledLayout:
    """The layout of a model whose KV is `bytes_scale` times smaller than it really is.

    Args:
        kv_bytes_per_token: of the real model, all layers.
        layers: of the model.
        bytes_scale: real bytes for one emulated byte.
        block_tokens: tokens of a block.

    Returns:
        The layout with Layer Blocks rounded to whole bytes, and the scale that this rounding
        realises.

    Raises:
        ScenarioError: a Layer Block has no byte left, or a number is not positive.
    """
    if kv_bytes_per_token <= 0 or bytes_scale <= 0:
        raise ScenarioError(
            f"{kv_bytes_per_token} KV bytes per token at a byte scale of {bytes_scale}",
            hint="both must be above 0",
        )
    real_block_bytes = kv_bytes_per_token * block_tokens / layers
    layer_block_bytes = round(real_block_bytes / bytes_scale)
    if layer_block_bytes < 1:
        raise ScenarioError(
            f"scale.bytes={bytes_scale:g} leaves nothing of a Layer Block of "
            f"{real_block_bytes:,.0f} bytes",
            hint=f"scale.bytes is {math.floor(real_block_bytes)} at most, which leaves one byte",
        )
    return ScaledLayout(
        KVLayout(layers, layer_block_bytes, block_tokens), real_block_bytes / layer_block_bytes
    )
