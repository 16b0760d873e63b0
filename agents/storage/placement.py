"""Which storage node keeps which blocks: consistent hashing of extents.

The blocks of a prefix are cut into *extents* of a fixed number of blocks, and an extent belongs to
the storage node that follows the hash of its first block on a ring.  That hash stands for the whole
prefix up to there, so contexts that share a prefix share its extents, whoever asks.  A storage node
that comes or goes moves only the extents next to its points on the ring.

Source: Karger et al., Consistent Hashing and Random Trees (STOC 1997).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from agents.blocks.hashing import Hashes, finalise

# The shares of two nodes differ by about 1 / sqrt(points): 6 %.
POINTS_PER_NODE = 256


class Run(NamedTuple):
    """Neighbouring blocks of a prefix that one storage node keeps.

    Args:
        node: the storage node.
        first: of the blocks, counted from the prefix's first.
        blocks: how many, at least 1.
    """

    node: str
    first: int
    blocks: int


class Ring:
    """A ring of all 64-bit hashes, on which every node has many points.

    Args:
        nodes: names; their order does not matter.
        points: of each node.

    Raises:
        ValueError: there is no node.
    """

    def __init__(self, nodes: Sequence[str], points: int = POINTS_PER_NODE) -> None:
        if not nodes:
            raise ValueError("a ring without nodes")
        self.nodes = tuple(sorted(nodes))
        placed = sorted(
            (xxhash.xxh3_64_intdigest(f"{node}#{point}".encode()), number)
            for number, node in enumerate(self.nodes)
            for point in range(points)
        )
        self._points = np.array([point for point, _ in placed], np.uint64)
        self._owners = np.array([number for _, number in placed], np.int64)

    def owners(self, hashes: Hashes) -> NDArray[np.int64]:
        """For each hash the index in `nodes` of the node whose point is next on the ring."""
        # Hashes of recorded traces may be small numbers: spread before they are placed.
        spread = finalise(hashes.astype(np.uint64))
        return self._owners[np.searchsorted(self._points, spread) % len(self._points)]


class Placement:
    """Where the blocks of a prefix are kept.

    Args:
        nodes: the storage nodes.
        extent_blocks: blocks of an extent.

    Raises:
        ValueError: there are no nodes, or an extent has no block.
    """

    def __init__(self, nodes: Sequence[str], extent_blocks: int) -> None:
        if extent_blocks < 1:
            raise ValueError(f"extents of {extent_blocks} blocks")
        self._ring = Ring(nodes)
        self._extent_blocks = extent_blocks

    def without(self, node: str) -> Placement:
        """The same when a node has gone: the next on the ring keep its extents.

        It is the same for nodes that keep nothing; and the last one has nobody to take over.
        """
        rest = [name for name in self._ring.nodes if name != node]
        if not rest or len(rest) == len(self._ring.nodes):
            return self
        return Placement(rest, self._extent_blocks)

    def runs(self, hashes: Hashes, first: int = 0, count: int | None = None) -> list[Run]:
        """Who keeps some blocks of a prefix, in their order, neighbours on one node joined.

        Args:
            hashes: shape (blocks,): the prefix from its very first block on.
            first, count: the blocks that are asked about; all from `first` on by default.

        Raises:
            ValueError: the prefix does not have these blocks.
        """
        end = len(hashes) if count is None else first + count
        if not 0 <= first <= end <= len(hashes):
            raise ValueError(f"blocks {first}…{end} of a prefix of {len(hashes)}")
        if first == end:
            return []
        size = self._extent_blocks
        begin = first // size * size
        owners = self._ring.owners(hashes[begin:end:size])
        starts = np.arange(begin, end, size)[np.flatnonzero(np.diff(owners, prepend=-1))]
        starts[0] = first
        counts = np.diff(starts, append=end)
        names = self._ring.nodes
        return [
            Run(names[owners[(start - begin) // size]], start, blocks)
            for start, blocks in zip(starts.tolist(), counts.tolist(), strict=True)
        ]
