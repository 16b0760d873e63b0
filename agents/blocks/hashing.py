"""Prefix-block hashes: 64 bits that name a KV block *and* all the context before it.

Within one stream different blocks have different hashes, for mixing is a bijection; between streams
two hashes are equal with the chance of two random 64-bit numbers.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import xxhash
from numpy.typing import NDArray

Hashes: TypeAlias = NDArray[np.uint64]

# The finaliser of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number
# Generators, OOPSLA 2014).
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def stream_id(name: str) -> int:
    """The 64-bit identity of whatever has blocks of its own: a conversation, a whole trace."""
    return xxhash.xxh3_64_intdigest(name.encode())


def mix(stream: int, values: Hashes) -> Hashes:
    """Hashes of the blocks that a stream calls by these numbers (its own, or a trace's ids).

    Args:
        stream: from `stream_id`.
        values: shape (n,).
    """
    # Arithmetic modulo 2^64 is meant; on arrays numpy does it silently.
    z: Hashes = (values + np.uint64(1)) * _GOLDEN
    z ^= np.uint64(stream)
    return finalise(z)


def stream_hashes(stream: int, count: int, first: int = 0) -> Hashes:
    """Hashes of the blocks `first` … `first + count - 1` of a stream."""
    return mix(stream, np.arange(first, first + count, dtype=np.uint64))


def token_hashes(tokens: NDArray[np.uint32], block_tokens: int) -> Hashes:
    """Hashes of the blocks of a context, from its token ids: each of a block and all before it.

    Args:
        tokens: shape (n,).
        block_tokens: of a block; the last may have fewer.
    """
    data = memoryview(tokens.astype("<u4").tobytes())
    hashes, before, size = [], 0, 4 * block_tokens
    for at in range(0, len(data), size):
        before = xxhash.xxh3_64_intdigest(data[at : at + size], seed=before)
        hashes.append(before)
    return np.array(hashes, np.uint64)


def finalise(z: Hashes) -> Hashes:
    """Spread every bit of each value over all 64, in place: a bijection."""
    z ^= z >> np.uint64(30)
    z *= _FIRST
    z ^= z >> np.uint64(27)
    z *= _SECOND
    z ^= z >> np.uint64(31)
    return z
