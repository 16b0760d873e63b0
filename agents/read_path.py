"""Where the hit KV of a request comes from: segments, and the read path that they make."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

import msgspec

Side: TypeAlias = Literal["pe", "de"]
"""Which node of a request reads: the prefill engine's or the decode engine's."""

Source: TypeAlias = Side | Literal["peer"]
"""Where hit KV comes from: storage, by the node that reads; or the cache of a decode node."""

Path: TypeAlias = Source | Literal["split", "none"]
"""The read path of a request, see `path_of`."""


class Segment(msgspec.Struct, frozen=True):
    """Hit blocks of a request that are read together.

    Args:
        side: "pe" if the prefill node reads them, "de" if the decode node does; "peer" if the
            decode node has them from a cache.
        node: the storage node that has them, or the decode node whose cache does.
        first, count: which of the request's blocks.
    """

    side: Source
    node: str
    first: int
    count: int


def path_of(segments: Iterable[Segment]) -> Path:
    """The read path: the side of all segments, "split" for both, "none" without a hit.

    With anything from a cache it is "peer", though storage may have the rest.
    """
    sides = {segment.side for segment in segments}
    if "peer" in sides:
        return "peer"
    return "split" if len(sides) > 1 else next(iter(sides), "none")
