"""Greedy generation from a context's KV: what a decode engine and the reference both do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from agents.transformer.cache import LayerKV
from agents.transformer.model import Transformer, greedy
from agents.transformer.tokens import chain_logits


def prefill(model: Transformer, tokens: NDArray[np.integer], kv: Sequence[LayerKV]) -> Generation:
    """Compute tokens that follow upon a context, and choose the next one.

    Args:
        model: to run.
        tokens: at least one.
        kv: of the context, each layer's; that of the tokens is appended.
    """
    residual = model.embed(tokens)
    for index, layer in enumerate(kv):
        residual = model.layer(index, residual, layer)
    logits = model.logits(residual[-1])
    return Generation(model, kv, greedy(logits), chain_logits(0, logits))


class Generation:
    """Tokens chosen one by one, each the likeliest.

    Args:
        model: to run.
        kv: of the prompt, each layer's; grows with every token.
        token: the first one, chosen already.
        logits: digest of its scores.
    """

    def __init__(self, model: Transformer, kv: Sequence[LayerKV], token: int, logits: int) -> None:
        self._model, self._kv = model, kv
        self._prompt_tokens = kv[0].tokens
        self._next: NDArray[np.int64] | None = None
        self.tokens = [token]
        self.logits = logits

    def generate(self, count: int) -> Iterator[None]:
        """Have `count` tokens in all; yields after each."""
        while len(self.tokens) < count:
            self.absorb()
            assert self._next is not None
            self.tokens.append(greedy(self._next))
            self.logits = chain_logits(self.logits, self._next)
            yield

    def absorb(self) -> None:
        """See to it that the last token has KV, too: it belongs to the context that comes next."""
        if self._kv[0].tokens == self._prompt_tokens + len(self.tokens):
            return
        residual = self._model.embed(np.array(self.tokens[-1:]))
        for index, layer in enumerate(self._kv):
            residual = self._model.layer(index, residual, layer)
        self._next = self._model.logits(residual[-1])
