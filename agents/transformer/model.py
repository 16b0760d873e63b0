"""A small decoder-only transformer: RMSNorm, rotary positions, grouped-query attention, SwiGLU.

Every token is computed to the same bits however many are computed with it: see `exact`.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from agents.transformer import exact
from agents.transformer.cache import LayerKV
from agents.transformer.config import Config
from agents.transformer.exact import KV_ONE, ONE, Exact
from agents.transformer.weights import ROTATION_ONE, LayerWeights, Weights, make_weights

_ROWS = 64  # of queries at a time: their scores stay in cache


class Transformer:
    """The model; it holds weights and no state.

    Args:
        config: its shape and seed.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._weights = make_weights(config)
        # softmax(q·k / sqrt(head_dim)), as a power of 2 of an exact score.
        self._log2_scale = math.log2(math.e) / math.sqrt(config.head_dim) / (ONE * KV_ONE)

    @property
    def weights(self) -> Weights:
        """All of its weights."""
        return self._weights

    def embed(self, tokens: NDArray[np.integer]) -> Exact:
        """The residual stream of tokens before the first layer, shape (tokens, hidden)."""
        rows: Exact = self._weights.embedding[tokens]
        return rows

    def layer(self, index: int, residual: Exact, kv: LayerKV) -> Exact:
        """Run tokens through a layer.

        Args:
            index: of the layer.
            residual: of tokens that follow upon those in `kv`, shape (tokens, hidden).
            kv: of all tokens before, in this layer; that of these tokens is appended.

        Returns:
            The residual stream after the layer.
        """
        weights, config = self._weights.layers[index], self.config
        first, rows = kv.tokens, len(residual)
        normed = exact.rms_norm(residual)
        queries = exact.linear(normed, weights.query).reshape(rows, config.heads, -1)
        keys = exact.linear(normed, weights.key).reshape(rows, config.kv_heads, -1)
        values = exact.linear(normed, weights.value).reshape(rows, config.kv_heads, -1)
        queries, keys = self._rotate(queries, first), self._rotate(keys, first)
        kv.append(exact.as_kv(np.stack((keys, values), axis=1)))
        parts = [
            self._attend(queries[at : at + _ROWS], first + at, kv) for at in range(0, rows, _ROWS)
        ]
        attended = exact.linear(np.concatenate(parts), weights.output)
        return _mlp(exact.add(residual, attended), weights)

    def _rotate(self, heads: Exact, first: int) -> Exact:
        """Rotary positions (Su et al., 2021): pairs of dimensions, turned by the position.

        Args:
            heads: shape (tokens, heads, head_dim).
            first: position of the first token.
        """
        after = first + len(heads)
        cosines = self._weights.cosines[first:after, None, :]
        sines = self._weights.sines[first:after, None, :]
        one, two = np.split(heads, 2, axis=-1)
        turned = (one * cosines - two * sines, two * cosines + one * sines)
        return exact.saturate(np.concatenate(turned, axis=-1) / ROTATION_ONE)

    def _attend(self, queries: Exact, first: int, kv: LayerKV) -> Exact:
        """Attention of some tokens over themselves and all before: shape (rows, heads · dim)."""
        config = self.config
        rows, after = len(queries), first + len(queries)
        shared = config.heads // config.kv_heads
        # (kv_heads, shared · rows, dim): the queries that share a key stand together.
        apart = queries.reshape(rows, config.kv_heads, shared, config.head_dim)
        grouped = apart.transpose(1, 2, 0, 3).reshape(config.kv_heads, shared * rows, -1)
        scores: Exact = grouped @ kv.keys[:, :, :after]
        seen = np.tile(np.arange(after) <= np.arange(first, after)[:, None], (shared, 1))
        shares = exact.softmax_weights(scores, seen, self._log2_scale)
        sums = shares @ kv.values[:, :after]
        mean = exact.saturate(sums * (ONE / KV_ONE) / shares.sum(axis=-1, keepdims=True))
        by_head = mean.reshape(config.kv_heads, shared, rows, -1)
        return by_head.transpose(2, 0, 1, 3).reshape(rows, -1)

    def logits(self, residual: Exact) -> NDArray[np.int64]:
        """Scores of every token of the vocabulary after the one whose residual this is."""
        row = exact.linear(exact.rms_norm(residual[None]), self._weights.head)
        scores: NDArray[np.int64] = row[0].astype("<i8")
        return scores


def _mlp(residual: Exact, weights: LayerWeights) -> Exact:
    normed = exact.rms_norm(residual)
    inner = exact.swiglu(exact.linear(normed, weights.gate), exact.linear(normed, weights.up))
    return exact.add(residual, exact.linear(inner, weights.down))


def greedy(logits: NDArray[np.int64]) -> int:
    """The token of the highest score, the lowest id among equals."""
    return int(logits.argmax())


@lru_cache(maxsize=4)
def load_model(config: Config) -> Transformer:
    """The model of a configuration, made once a process."""
    return Transformer(config)
