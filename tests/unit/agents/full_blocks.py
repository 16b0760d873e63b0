"""Full Blocks in tests: whether they are what the generator makes."""

from __future__ import annotations

from agents.blocks.generate import Mismatch, check_group
from agents.blocks.hashing import Hashes
from agents.blocks.layout import KVLayout


def check_full(layout: KVLayout, hashes: Hashes, memory: memoryview) -> Mismatch | None:
    """Compare every byte of Full Blocks with what `fill_full` makes: as `check_group`."""
    return check_group(layout, hashes, 0, layout.layers, layout.block_tokens, memory)
