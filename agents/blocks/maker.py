"""How engines come by KV bytes, and how they know that those which arrive are right.

There are two ways.  *Generated* bytes follow from a block's hash and its layer alone: cheap, and
whoever holds a block can check it (`agents.blocks.generated`).  A *transformer* computes them from
tokens and from the KV that arrived (`agents.transformer`): nobody on the way can tell a wrong one,
but what comes of it differs from what one process finds that never moved a byte.

A maker belongs to an engine; for each request it gives one state for prefill, one for decode.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import msgspec

from agents.blocks.generate import Mismatch
from agents.blocks.hashing import Hashes
from agents.blocks.layout import LayerGroup


class Prompt(NamedTuple):
    """What a maker is told of a request.

    Args:
        hashes: of every block of prompt and generation.
        prompt_tokens, generate_tokens: how many.
        hit_blocks: whose KV is loaded, not computed.
        tokens: the prompt's ids, little-endian uint32; empty where KV is generated.
    """

    hashes: Hashes
    prompt_tokens: int
    generate_tokens: int
    hit_blocks: int
    tokens: bytes = b""


class Part(NamedTuple):
    """Neighbouring blocks of a request in group form; Full Blocks are the group of all layers.

    Args:
        block_first, blocks: which of the request's blocks.
        layer_first, layer_count: the layers.
        last_block_tokens: tokens in the last of the blocks.
        memory: exactly these bytes.
    """

    block_first: int
    blocks: int
    layer_first: int
    layer_count: int
    last_block_tokens: int
    memory: memoryview


class Prefilled(msgspec.Struct, frozen=True):
    """What prefill hands to decode beside KV; all of it zero or empty where KV is generated.

    Args:
        token: the first generated token.
        logits: digest of the scores that it was chosen by.
        hit_kv: for each layer, the digest of the hit KV that attention has read.
    """

    token: int = 0
    logits: int = 0
    hit_kv: list[int] = []


class Proof(msgspec.Struct, frozen=True):
    """What a request came to, for comparison with a process that never moved a byte.

    Args:
        tokens: generated, little-endian uint32.
        logits: one digest over the scores of every generated token, in order.
        hit_kv: as in `Prefilled`.
        kv: for each layer, the digest of all KV that decode has read, of prompt and generation.
    """

    tokens: bytes = b""
    logits: int = 0
    hit_kv: list[int] = []
    kv: list[int] = []


class PrefillKV(Protocol):
    """The KV of one request at a prefill engine, layer group by layer group."""

    def check(self, group: LayerGroup, blocks: range, memory: memoryview) -> Mismatch | None:
        """May attention use KV that has arrived?  Block and layer of the first wrong byte, or None.

        Args:
            group: the layers.
            blocks: which of the request's: hit blocks, or full ones that an earlier chunk computed.
            memory: these blocks in group form.
        """

    def compute(
        self,
        group: LayerGroup,
        hits: memoryview,
        misses: memoryview,
        tokens: range | None = None,
    ) -> None:
        """Compute the layers of a group: leaves the KV of miss tokens in `misses`.

        Groups come in order; of a chunked prefill all groups of one chunk, then all of the next.

        Args:
            group: the layers.
            hits: the hit blocks in group form, right as `check` found them.
            misses: the miss blocks in group form; of earlier chunks it holds the KV.
            tokens: of the prompt, those that are computed now; None for all miss tokens.
        """

    def result(self) -> Prefilled:
        """After the last group (of the last chunk): what decode begins with."""


class DecodeKV(Protocol):
    """The KV of one request at a decode engine."""

    def load(self, parts: Sequence[Part]) -> Mismatch | None:
        """Take the prompt's KV over from HBM.

        Args:
            parts: all blocks and layers of the prompt, each once; of every layer in the order of
                its blocks.  The memory must stay as it is until the last `block`.

        Returns:
            The first wrong block and layer, or None.
        """

    def generate(self, count: int) -> Iterable[None]:
        """Have `count` generated tokens in all, the one from prefill included.

        Yields after each, so that the engine's other work goes on.
        """

    def block(self, number: int, out: memoryview) -> None:
        """Lay a Full Block down that generation has completed.

        Args:
            number: which of the request's blocks.
            out: its place.
        """

    def result(self) -> Proof:
        """After all tokens have been generated."""


class KVMaker(Protocol):
    """Makes KV for the requests of one cluster."""

    def prefill(self, prompt: Prompt) -> PrefillKV:
        """For a request that a prefill engine begins."""

    def decode(self, prompt: Prompt, prefilled: Prefilled) -> DecodeKV:
        """For a request that a decode engine begins."""
