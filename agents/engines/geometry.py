"""Where the KV of one request lies, in every buffer that it passes through.

A *layer group* is the unit of transfer: `layers_per_transfer` layers.  In group form, blocks come
one after the other, and within a block its layers of the group: what a strided copy out of Full
Blocks gives.

    PE HBM slot   group form of the whole prompt: hit blocks, then miss blocks and the tail
    PE buffer     the hit Full Blocks that the prefill node reads
    DE buffer     the hit Full Blocks that the decode node reads, then, one group after the other,
                  the group form of all blocks after them: what a prefill engine returns
    DE HBM        as the DE buffer, then the generated Full Blocks

Of the hit blocks, those that the decode node reads come first.

The tail is the prompt's last block when it is not full: the first tokens of a block that
generation completes.
"""

from __future__ import annotations

import msgspec

from agents.blocks.layout import KVLayout, LayerGroup
from agents.blocks.maker import Part


class Span(msgspec.Struct, frozen=True):
    """Bytes `offset` … `offset + size` of a buffer."""

    offset: int
    size: int

    def of(self, memory: memoryview) -> memoryview:
        """This part of a buffer."""
        return memory[self.offset : self.offset + self.size]


class Geometry(msgspec.Struct, frozen=True):
    """Sizes and offsets of one request.

    Args:
        layout: of KV blocks.
        layers_per_transfer: layers of a group.
        prompt_tokens, generate_tokens: of the request.
        de_blocks, pe_blocks: hit blocks that the decode node and the prefill node read.
    """

    layout: KVLayout
    layers_per_transfer: int
    prompt_tokens: int
    generate_tokens: int
    de_blocks: int
    pe_blocks: int

    @property
    def hit_blocks(self) -> int:
        """Blocks whose KV is read."""
        return self.de_blocks + self.pe_blocks

    @property
    def prompt_full_blocks(self) -> int:
        """Blocks that the prompt fills."""
        return self.prompt_tokens // self.layout.block_tokens

    @property
    def prompt_blocks(self) -> int:
        """Blocks that hold the prompt, the tail included."""
        return -(-self.prompt_tokens // self.layout.block_tokens)

    @property
    def tail_tokens(self) -> int:
        """Tokens of the prompt in its last block, if that is not full; else 0."""
        return self.prompt_tokens % self.layout.block_tokens

    @property
    def last_block_tokens(self) -> int:
        """Tokens of the prompt in its last block."""
        return self.tail_tokens or self.layout.block_tokens

    @property
    def miss_blocks(self) -> int:
        """Blocks of the prompt that must be computed, the tail included."""
        return self.prompt_blocks - self.hit_blocks

    @property
    def miss_full_blocks(self) -> int:
        """Full Blocks of the prompt that storage does not have yet."""
        return self.prompt_full_blocks - self.hit_blocks

    @property
    def hit_tokens(self) -> int:
        """Tokens whose KV is read."""
        return self.hit_blocks * self.layout.block_tokens

    @property
    def miss_tokens(self) -> int:
        """Tokens whose KV is computed."""
        return self.prompt_tokens - self.hit_tokens

    @property
    def generated_full_blocks(self) -> int:
        """Blocks that generation completes."""
        total = self.prompt_tokens + self.generate_tokens
        return total // self.layout.block_tokens - self.prompt_full_blocks

    @property
    def de_layer_bytes(self) -> int:
        """Bytes of one layer of the blocks that the decode node reads."""
        return self.de_blocks * self.layout.layer_block_bytes

    @property
    def de_bytes(self) -> int:
        """Bytes that the decode node reads."""
        return self.de_blocks * self.layout.full_block_bytes

    @property
    def pe_bytes(self) -> int:
        """Bytes that the prefill node reads: the size of its PE buffer."""
        return self.pe_blocks * self.layout.full_block_bytes

    @property
    def hit_layer_bytes(self) -> int:
        """Bytes of one layer of the hit tokens."""
        return self.hit_blocks * self.layout.layer_block_bytes

    @property
    def miss_layer_bytes(self) -> int:
        """Bytes of one layer of the miss tokens."""
        tail = self.layout.token_bytes(self.tail_tokens)
        return self.miss_full_blocks * self.layout.layer_block_bytes + tail

    @property
    def layer_bytes(self) -> int:
        """Bytes of one layer of the prompt."""
        return self.hit_layer_bytes + self.miss_layer_bytes

    @property
    def hit_bytes(self) -> int:
        """Bytes of the hit tokens' KV, all layers."""
        return self.hit_blocks * self.layout.full_block_bytes

    @property
    def prompt_bytes(self) -> int:
        """Bytes of the whole prompt's KV: the size of its DE buffer."""
        return self.layer_bytes * self.layout.layers

    @property
    def hbm_bytes(self) -> int:
        """Bytes of HBM that the request needs at its decode engine."""
        return self.prompt_bytes + self.generated_full_blocks * self.layout.full_block_bytes

    @property
    def slot_bytes(self) -> int:
        """Bytes of HBM that one layer group needs at the prefill engine."""
        return min(self.layers_per_transfer, self.layout.layers) * self.layer_bytes

    def groups(self) -> list[LayerGroup]:
        """The layer groups, in the order of computation."""
        return self.layout.groups(self.layers_per_transfer)

    def hit_in_slot(self, group: LayerGroup) -> Span:
        """The hit part of a group in a PE HBM slot."""
        return Span(0, group.count * self.hit_layer_bytes)

    def de_in_slot(self, group: LayerGroup) -> Span:
        """Of it, what the decode node sends."""
        return Span(0, group.count * self.de_layer_bytes)

    def pe_in_slot(self, group: LayerGroup) -> Span:
        """Of it, what comes from the PE buffer."""
        return _rest(self.hit_in_slot(group), self.de_in_slot(group).size)

    def miss_in_slot(self, group: LayerGroup) -> Span:
        """The miss part of a group in a PE HBM slot."""
        return Span(group.count * self.hit_layer_bytes, group.count * self.miss_layer_bytes)

    def returned_from_slot(self, group: LayerGroup) -> Span:
        """What goes back to the DE buffer: all of the group but what came from there."""
        return _rest(Span(0, group.count * self.layer_bytes), self.de_in_slot(group).size)

    def returned_to_buffer(self, group: LayerGroup) -> Span:
        """Where that lands in the DE buffer."""
        returned_layer_bytes = self.layer_bytes - self.de_layer_bytes
        return Span(
            self.de_bytes + group.first * returned_layer_bytes, group.count * returned_layer_bytes
        )

    def miss_in_buffer(self, group: LayerGroup) -> Span:
        """The miss part of a group in the DE buffer (or the DE HBM)."""
        return _rest(self.returned_to_buffer(group), self.pe_in_slot(group).size)

    def prompt_parts(self, memory: memoryview) -> list[Part]:
        """The prompt's KV as it lies in the DE buffer, or at the start of the DE HBM."""
        layout, rest = self.layout, self.prompt_blocks - self.de_blocks
        read = Part(
            0, self.de_blocks, 0, layout.layers, layout.block_tokens, memory[: self.de_bytes]
        )
        returned = [
            Part(
                self.de_blocks,
                rest,
                group.first,
                group.count,
                self.last_block_tokens,
                self.returned_to_buffer(group).of(memory),
            )
            for group in self.groups()
        ]
        return [read, *returned] if self.de_blocks else returned


def _rest(span: Span, skip: int) -> Span:
    """A span without its first `skip` bytes."""
    return Span(span.offset + skip, span.size - skip)
