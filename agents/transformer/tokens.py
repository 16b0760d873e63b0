"""Token ids and scores as they travel: bytes, and one digest for the scores of many tokens."""

from __future__ import annotations

import numpy as np
import xxhash
from numpy.typing import NDArray


def chain_logits(before: int, logits: NDArray[np.int64]) -> int:
    """The digest of all scores so far.

    Args:
        before: the digest of those before; 0 at the first token.
        logits: of one token, shape (vocabulary,).
    """
    return xxhash.xxh3_64_intdigest(logits.tobytes(), seed=before)


def as_bytes(tokens: list[int]) -> bytes:
    """Token ids as messages carry them: little-endian uint32."""
    return np.array(tokens, "<u4").tobytes()


def as_tokens(data: bytes) -> NDArray[np.uint32]:
    """The inverse of `as_bytes`."""
    return np.frombuffer(data, "<u4")
