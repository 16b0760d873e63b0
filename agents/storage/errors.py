"""What storage refuses, and why."""

from __future__ import annotations

from testbed.errors import TestbedError


class StoreError(TestbedError):
    """Storage cannot do what it was asked."""

    kind = "storage"


class StoreFull(StoreError):
    """There is no room for that many blocks, and nothing that may be evicted for them."""


class MissingBlock(StoreError):
    """A block that was asked for is not stored (any more).

    Args:
        block: its hash.
        position: of the first such among those that were asked for.
    """

    def __init__(self, block: int, position: int) -> None:
        super().__init__(f"block {block:#018x}, number {position} of the read, is not stored")


class CorruptBlock(StoreError):
    """A block is not what it was when it was stored."""
