"""The KV of one layer as attention reads it, and where it lies in memory.

A token's KV in a layer is its keys, then its values: int16 of shape (2, kv_heads, head_dim).  So
the first tokens of a Layer Block are its first bytes, as partly filled blocks need it.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import xxhash
from numpy.typing import NDArray

from agents.blocks.maker import Part
from agents.transformer.config import Config
from agents.transformer.exact import Exact

KV: TypeAlias = NDArray[np.int16]
"""Shape (tokens, 2, kv_heads, head_dim)."""


class LayerKV:
    """Keys and values of the first tokens of a context, in one layer.

    Args:
        config: of the model.
        capacity: tokens that there may ever be.
    """

    def __init__(self, config: Config, capacity: int) -> None:
        shape = (capacity, 2, config.kv_heads, config.head_dim)
        self.tokens = 0
        self._stored: KV = np.empty(shape, "<i2")
        self._keys: Exact = np.empty((config.kv_heads, config.head_dim, capacity))
        self._values: Exact = np.empty((config.kv_heads, capacity, config.head_dim))

    def append(self, kv: KV) -> None:
        """More tokens; ValueError if there is no room for them."""
        first, after = self.tokens, self.tokens + len(kv)
        if after > len(self._stored):
            raise ValueError(f"{after} tokens of KV where {len(self._stored)} are expected")
        self._stored[first:after] = kv
        # Attention reads what is stored, not what it was stored from.
        stored = self._stored[first:after]
        self._keys[:, :, first:after] = stored[:, 0].transpose(1, 2, 0)
        self._values[:, first:after] = stored[:, 1].transpose(1, 0, 2)
        self.tokens = after

    @property
    def keys(self) -> Exact:
        """Shape (kv_heads, head_dim, tokens)."""
        return self._keys[:, :, : self.tokens]

    @property
    def values(self) -> Exact:
        """Shape (kv_heads, tokens, head_dim)."""
        return self._values[:, : self.tokens]

    def stored(self, first: int, after: int) -> KV:
        """The KV of tokens `first` … `after - 1`; ValueError if there is less."""
        if not 0 <= first <= after <= self.tokens:
            raise ValueError(f"tokens {first}…{after} of {self.tokens} that have KV")
        return self._stored[first:after]

    def digest(self, tokens: int) -> int:
        """xxh3-64 of the KV of the first tokens."""
        return xxhash.xxh3_64_intdigest(self.stored(0, tokens).data)


class _Rows:
    """One layer of a part: views of its whole blocks and of its partly filled last one."""

    def __init__(self, config: Config, block_tokens: int, part: Part, layer: int) -> None:
        if not part.layer_first <= layer < part.layer_first + part.layer_count:
            raise ValueError(f"layer {layer} is not in a part that begins at {part.layer_first}")
        item = (2, config.kv_heads, config.head_dim)
        token_bytes = config.kv_layer_bytes
        tail = part.last_block_tokens % block_tokens
        whole = part.blocks - (1 if tail else 0)
        rows = (whole * block_tokens + tail) * part.layer_count
        if part.memory.nbytes != rows * token_bytes:
            raise ValueError(
                f"{part.memory.nbytes} bytes of memory for {rows * token_bytes} bytes of KV"
            )
        at = layer - part.layer_first
        body = whole * block_tokens * part.layer_count
        tokens = np.frombuffer(part.memory, "<i2").reshape(rows, *item)
        blocks = tokens[:body].reshape(whole, part.layer_count, block_tokens, *item)
        self.blocks: KV = blocks[:, at]
        self.tail: KV = tokens[body:].reshape(part.layer_count, tail, *item)[at]
        self.block_tokens = block_tokens


def read_part(config: Config, block_tokens: int, part: Part, layer: int, tokens: int) -> KV:
    """The KV of the first `tokens` tokens of a part, in one layer."""
    rows = _Rows(config, block_tokens, part, layer)
    flat = rows.blocks.reshape(-1, *rows.tail.shape[1:])
    return np.concatenate((flat, rows.tail))[:tokens]


def write_part(
    config: Config, block_tokens: int, part: Part, layer: int, first: int, kv: KV
) -> None:
    """Write the KV of tokens, counted from the part's first, into a part, in one layer."""
    rows = _Rows(config, block_tokens, part, layer)
    tokens = np.arange(first, first + len(kv))
    in_blocks = np.searchsorted(tokens, len(rows.blocks) * block_tokens)
    block, offset = np.divmod(tokens[:in_blocks], block_tokens)
    rows.blocks[block, offset] = kv[:in_blocks]
    rows.tail[tokens[in_blocks:] - len(rows.blocks) * block_tokens] = kv[in_blocks:]
