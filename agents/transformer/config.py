"""The shape of the small transformer that validation runs serve."""

from __future__ import annotations

import msgspec

from agents.blocks.layout import KVLayout

KV_ITEM_BYTES = 2  # 16-bit fixed point: every pattern of bits is a value, none is a NaN

# What an exact product of matrices may sum, see `agents.transformer.exact`.
_LARGEST_DIMENSION = 256
_LARGEST_CONTEXT = 8192


class Config(msgspec.Struct, frozen=True):
    """A decoder-only transformer with grouped-query attention.

    Args:
        layers: all of them have KV.
        hidden: width of the residual stream.
        heads, kv_heads: of queries; of keys and values, each shared by heads / kv_heads of them.
        head_dim: of one head, even, for rotary positions turn pairs.
        mlp: inner width of the SwiGLU block.
        vocabulary: token ids are 0 … vocabulary - 1.
        max_context: tokens of a prompt and what it generates.
        seed: of the weights.

    Raises:
        ValueError: heads are not shared evenly, or sums could be too large to be exact.
    """

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp: int
    vocabulary: int
    max_context: int
    seed: int = 0

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads or self.head_dim % 2:
            raise ValueError(
                f"{self.heads} heads of {self.head_dim} do not share {self.kv_heads} KV heads"
            )
        widest = max(self.hidden, self.mlp, self.heads * self.head_dim)
        if widest > _LARGEST_DIMENSION or self.max_context > _LARGEST_CONTEXT:
            raise ValueError(
                f"sums over {widest} dimensions or {self.max_context} tokens would not be exact:"
                f" at most {_LARGEST_DIMENSION} and {_LARGEST_CONTEXT}"
            )

    @property
    def kv_layer_bytes(self) -> int:
        """KV of one token in one layer: keys, then values."""
        return 2 * self.kv_heads * self.head_dim * KV_ITEM_BYTES

    @property
    def kv_token_bytes(self) -> int:
        """KV of one token, all layers."""
        return self.layers * self.kv_layer_bytes

    @property
    def parameters(self) -> int:
        """Weights that take part in one token."""
        query = self.heads * self.head_dim
        attention = self.hidden * (2 * query + 2 * self.kv_heads * self.head_dim)
        layer = attention + 3 * self.hidden * self.mlp
        return self.layers * layer + self.hidden * self.vocabulary

    def layout(self, block_tokens: int) -> KVLayout:
        """Its KV blocks: exactly what the layers' keys and values take."""
        return KVLayout(self.layers, block_tokens * self.kv_layer_bytes, block_tokens)


TINY = Config(
    layers=6,
    hidden=64,
    heads=4,
    kv_heads=2,
    head_dim=16,
    mlp=128,
    vocabulary=512,
    max_context=4096,
)
"""What `kv: transformer` serves."""
