"""The part of a prompt that one prefill iteration computes.

A prompt whose miss tokens do not fit an iteration's compute quota is computed in chunks.  A chunk
ends where a block does, or where the prompt does.  It attends to the hit tokens and to all chunks
before it, so their KV has to be in HBM again, layer by layer.  In group form blocks follow each
other, hence a chunk is contiguous in a PE HBM slot and in the DE buffer alike.
"""

from __future__ import annotations

import msgspec

from agents.blocks.layout import LayerGroup
from agents.engines.geometry import Geometry, Span


class Chunk(msgspec.Struct, frozen=True):
    """Miss blocks `first` … `end - 1` of a prompt.

    Args:
        geometry: of the request.
        first, end: counted from the first miss block; the last block may be a partly filled one.
    """

    geometry: Geometry
    first: int
    end: int

    @property
    def is_last(self) -> bool:
        """It ends where the prompt does."""
        return self.end == self.geometry.miss_blocks

    @property
    def context_tokens(self) -> int:
        """Tokens before it, whose KV it attends to."""
        return self.geometry.hit_tokens + self.first * self.geometry.layout.block_tokens

    @property
    def tokens(self) -> int:
        """Tokens that are computed."""
        if self.is_last:
            return self.geometry.prompt_tokens - self.context_tokens
        return (self.end - self.first) * self.geometry.layout.block_tokens

    @property
    def last_block_tokens(self) -> int:
        """Tokens in its last block."""
        if self.is_last:
            return self.geometry.last_block_tokens
        return self.geometry.layout.block_tokens

    def earlier_in_slot(self, group: LayerGroup) -> Span:
        """Miss blocks of the chunks before it, in a PE HBM slot."""
        return Span(self.geometry.miss_in_slot(group).offset, self._earlier_bytes(group))

    def fresh_in_slot(self, group: LayerGroup) -> Span:
        """What it computes, in a PE HBM slot."""
        earlier = self.earlier_in_slot(group)
        return Span(earlier.offset + earlier.size, self._bytes(group))

    def returned_from_slot(self, group: LayerGroup) -> Span:
        """What goes back to the DE buffer: the first chunk also returns what the PE node has read.

        All of the group but what came from the DE buffer goes back, once.
        """
        fresh = self.fresh_in_slot(group)
        if self.first:
            return fresh
        start = self.geometry.returned_from_slot(group).offset
        return Span(start, fresh.offset + fresh.size - start)

    def returned_to_buffer(self, group: LayerGroup) -> Span:
        """Where that lands in the DE buffer."""
        from_slot = self.returned_from_slot(group)
        whole_from, whole_to = (
            self.geometry.returned_from_slot(group),
            self.geometry.returned_to_buffer(group),
        )
        return Span(whole_to.offset + from_slot.offset - whole_from.offset, from_slot.size)

    def _earlier_bytes(self, group: LayerGroup) -> int:
        return group.count * self.first * self.geometry.layout.layer_block_bytes

    def _bytes(self, group: LayerGroup) -> int:
        blocks = self.end - self.first
        return self.geometry.layout.group_bytes(group.count, blocks, self.last_block_tokens)


def whole(geometry: Geometry) -> Chunk:
    """All miss tokens of a request at once."""
    return Chunk(geometry, 0, geometry.miss_blocks)


def starting_at(geometry: Geometry, first: int, tokens: int) -> Chunk:
    """The chunk of `tokens` tokens from miss block `first` on.

    Raises:
        ValueError: it would end neither where a block does nor where the prompt does.
    """
    block = geometry.layout.block_tokens
    rest = geometry.miss_tokens - first * block
    if tokens == rest:
        return Chunk(geometry, first, geometry.miss_blocks)
    if not 0 < tokens < rest or tokens % block:
        raise ValueError(f"a chunk of {tokens} of {rest} tokens in blocks of {block}")
    return Chunk(geometry, first, first + tokens // block)
