"""Which decode node's cache has the longest part of a prefix, as far as nodes have said."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Peer(NamedTuple):
    """A decode node whose cache has the first blocks of a prefix; "" and 0 for none."""

    node: str = ""
    blocks: int = 0


NOBODY = Peer()


class CacheDirectory:
    """The cached blocks of every decode node.

    What nodes say is on its way for a while: a block that is named here may have been evicted.

    Args:
        nodes: that have caches.
    """

    def __init__(self, nodes: Sequence[str]) -> None:
        self._cached: dict[str, set[int]] = {node: set() for node in nodes}

    def changed(self, node: str, added: Iterable[int], dropped: Iterable[int]) -> None:
        """A node has said what came into its cache and what has gone."""
        cached = self._cached[node]
        cached.difference_update(dropped)
        cached.update(added)

    def lose(self, node: str) -> None:
        """A node is lost, and its cache with it."""
        self._cached.pop(node, None)

    def longest(self, blocks: Sequence[int], own: str) -> Peer:
        """The node with the longest prefix of `blocks`; of equals `own`, which needs no network."""
        best = NOBODY
        for node in [own, *(node for node in self._cached if node != own)]:
            length = _prefix(self._cached.get(node, set()), blocks)
            if length > best.blocks:
                best = Peer(node, length)
        return best


def _prefix(cached: set[int], blocks: Sequence[int]) -> int:
    """How many of the first blocks are cached; caches hold beginnings of prefixes."""
    low, high = 0, len(blocks)
    while low < high:
        middle = (low + high + 1) // 2
        if blocks[middle - 1] in cached:
            low = middle
        else:
            high = middle - 1
    return low
