"""Digests of Full Blocks: xxh3-64, made where a block is stored, checked where it arrives."""

from __future__ import annotations

import numpy as np
import xxhash
from numpy.typing import NDArray


def digest_blocks(memory: memoryview, block_bytes: int) -> NDArray[np.uint64]:
    """The digest of each block of `block_bytes` bytes in `memory`."""
    starts = range(0, memory.nbytes, block_bytes)
    digest = xxhash.xxh3_64_intdigest
    return np.fromiter(
        (digest(memory[at : at + block_bytes]) for at in starts), np.uint64, len(starts)
    )


def first_wrong(memory: memoryview, expected: NDArray[np.uint64], block_bytes: int) -> int | None:
    """Index of the first block that does not match its digest, or None."""
    wrong = np.flatnonzero(digest_blocks(memory, block_bytes) != expected)
    return int(wrong[0]) if wrong.size else None
