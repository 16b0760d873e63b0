"""What one process finds that never moved a byte: a session, turn by turn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agents.blocks.maker import Proof
from agents.transformer.cache import LayerKV
from agents.transformer.config import Config
from agents.transformer.generation import prefill
from agents.transformer.model import load_model
from agents.transformer.tokens import as_bytes


class Reference:
    """One session in one process.

    Args:
        config: of the transformer.
        capacity: tokens of the whole session.
    """

    def __init__(self, config: Config, capacity: int) -> None:
        self._model = load_model(config)
        self._kv = [LayerKV(config, capacity) for _ in range(config.layers)]

    def turn(self, appended: NDArray[np.integer], count: int) -> Proof:
        """Append tokens to the context and generate more.

        Args:
            appended: at least one.
            count: of tokens to generate, at least one.

        Returns:
            What is right for this turn; without `hit_kv`, which depends on the hits.
        """
        generation = prefill(self._model, appended, self._kv)
        for _ in generation.generate(count):
            pass
        generation.absorb()
        kv = [layer.digest(layer.tokens) for layer in self._kv]
        return Proof(as_bytes(generation.tokens), generation.logits, [], kv)

    def hit_kv(self, tokens: int) -> list[int]:
        """For each layer, the digest of the KV of the first tokens."""
        return [layer.digest(tokens) for layer in self._kv]
