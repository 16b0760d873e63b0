"""Prefix-block hashes of 64 bits for traces that name their blocks otherwise, or not at all.

Within one stream different values have different hashes, for mixing is a bijection; between
streams two hashes are equal with the chance of two random 64-bit numbers.
"""

from __future__ import annotations

import numpy as np
import xxhash

from agents.traces.session import Hashes

# The finaliser of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number
# Generators, OOPSLA 2014).
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def stream_id(name: str) -> int:
    """The 64-bit identity of whatever has blocks of its own: a session, a whole trace."""
    return xxhash.xxh3_64_intdigest(name.encode())


def mix(stream: int, values: Hashes) -> Hashes:
    """Hashes of the blocks that a stream calls by these numbers.

    Args:
        stream: from `stream_id`.
        values: shape (n,).
    """
    # Arithmetic modulo 2^64 is meant; on arrays numpy does it silently.
    z = (values + np.uint64(1)) * _GOLDEN
    z ^= np.uint64(stream)
    z ^= z >> np.uint64(30)
    z *= _FIRST
    z ^= z >> np.uint64(27)
    z *= _SECOND
    z ^= z >> np.uint64(31)
    return z


def stream_hashes(stream: int, count: int) -> Hashes:
    """Hashes of the first `count` blocks of a stream."""
    return mix(stream, np.arange(count, dtype=np.uint64))
