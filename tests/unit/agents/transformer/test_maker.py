"""A request through every buffer, in one process: storage, PE slot, DE buffer, DE HBM.

Both makers go the same way; the transformer's proof must be the reference's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.blocks.generate import fill_full, gather_group, scatter_group
from agents.blocks.generated import GeneratedKV
from agents.blocks.hashing import stream_hashes
from agents.blocks.layout import KVLayout
from agents.blocks.maker import KVMaker, Prompt, Proof
from agents.engines.geometry import Geometry
from agents.transformer.config import Config
from agents.transformer.maker import TransformerKV
from agents.transformer.reference import Reference
from agents.transformer.tokens import as_bytes, as_tokens

BLOCK = 8
CONFIG = Config(
    layers=4, hidden=32, heads=4, kv_heads=2, head_dim=8, mlp=48, vocabulary=96, max_context=512
)
LAYOUT = CONFIG.layout(BLOCK)
SESSION_TOKENS = 400
Tamper: TypeAlias = Callable[[str, memoryview], None]


class Cut(NamedTuple):
    """How one request's work is cut.

    Args:
        layers: of a group.
        de_blocks: of the hits, read on the decode side.
        chunk: tokens of a chunk of prefill.
    """

    layers: int
    de_blocks: int
    chunk: int


def nothing(where: str, memory: memoryview) -> None:
    """No harm is done."""


def serve(
    maker: KVMaker, prompt: Prompt, cut: Cut, storage: bytearray, tamper: Tamper = nothing
) -> Proof:
    """Prefill and decode a request; its new Full Blocks are appended to `storage`."""
    layout: KVLayout = LAYOUT
    pe_blocks = prompt.hit_blocks - cut.de_blocks
    geometry = Geometry(
        layout, cut.layers, prompt.prompt_tokens, prompt.generate_tokens, cut.de_blocks, pe_blocks
    )
    full = layout.full_block_bytes
    hbm = memoryview(bytearray(geometry.hbm_bytes))
    hbm[: geometry.de_bytes] = storage[: geometry.de_bytes]
    slots = [
        memoryview(bytearray(group.count * geometry.layer_bytes)) for group in geometry.groups()
    ]
    prefill = maker.prefill(prompt)
    for first in range(geometry.hit_tokens, prompt.prompt_tokens, cut.chunk):
        tokens = range(first, min(first + cut.chunk, prompt.prompt_tokens))
        for group, slot in zip(geometry.groups(), slots, strict=True):
            hits = geometry.hit_in_slot(group).of(slot)
            gather_group(
                layout, memoryview(storage), prompt.hit_blocks, group.first, group.count, hits
            )
            tamper("slot", hits)
            assert prefill.check(group, range(prompt.hit_blocks), hits) is None
            prefill.compute(group, hits, geometry.miss_in_slot(group).of(slot), tokens)
    for group, slot in zip(geometry.groups(), slots, strict=True):
        geometry.returned_to_buffer(group).of(hbm)[:] = geometry.returned_from_slot(group).of(slot)
    del storage[geometry.hit_bytes :]
    kept = memoryview(bytearray(geometry.miss_full_blocks * full))
    for group in geometry.groups():
        part = geometry.miss_in_buffer(group).of(hbm)
        scatter_group(layout, part, geometry.miss_full_blocks, group.first, group.count, kept)
    storage += kept
    tamper("hbm", hbm)
    decode = maker.decode(prompt, prefill.result())
    assert decode.load(geometry.prompt_parts(hbm)) is None
    for index in range(geometry.generated_full_blocks):
        number = geometry.prompt_full_blocks + index
        for _ in decode.generate((number + 1) * BLOCK - prompt.prompt_tokens):
            pass
        out = hbm[geometry.prompt_bytes + index * full :][:full]
        decode.block(number, out)
        storage += out
    for _ in decode.generate(prompt.generate_tokens):
        pass
    return decode.result()


@st.composite
def sessions(draw: st.DrawFn) -> list[tuple[int, int, Cut, int]]:
    """Turns: tokens appended and generated, how they are cut, blocks not found though stored."""
    turns, context = [], 0
    for _ in range(draw(st.integers(1, 3))):
        appended, generated = draw(st.integers(1, 40)), draw(st.integers(1, 20))
        stored = context // BLOCK
        lost = draw(st.integers(0, min(2, stored)))
        cut = Cut(
            draw(st.integers(1, 4)), draw(st.integers(0, stored - lost)), draw(st.integers(1, 50))
        )
        turns.append((appended, generated, cut, lost))
        context += appended + generated
    return turns


@settings(max_examples=40, deadline=None)
@given(sessions(), st.integers(0, 9))
def test_any_hits_paths_and_chunks_are_one_computation(
    turns: list[tuple[int, int, Cut, int]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    maker, reference = TransformerKV(CONFIG, LAYOUT), Reference(CONFIG, SESSION_TOKENS)
    context, storage = b"", bytearray()
    for appended, generated, cut, lost in turns:
        new = rng.integers(0, CONFIG.vocabulary, appended)
        right = reference.turn(new, generated)
        context += as_bytes(new.tolist())
        tokens = len(as_tokens(context))
        hits = len(storage) // LAYOUT.full_block_bytes - lost
        hashes = stream_hashes(1, 99)  # names alone
        found = serve(maker, Prompt(hashes, tokens, generated, hits, context), cut, storage)
        assert found.tokens == right.tokens
        assert found.logits == right.logits
        assert found.kv == right.kv
        assert found.hit_kv == reference.hit_kv(hits * BLOCK)
        context += right.tokens
    assert len(storage) == len(as_tokens(context)) // BLOCK * LAYOUT.full_block_bytes


@settings(max_examples=25, deadline=None)
@given(sessions())
def test_generated_bytes_go_the_same_way(turns: list[tuple[int, int, Cut, int]]) -> None:
    maker, hashes = GeneratedKV(LAYOUT), stream_hashes(7, 99)
    context, storage = 0, bytearray()
    for appended, generated, cut, lost in turns:
        context += appended
        hits = len(storage) // LAYOUT.full_block_bytes - lost
        assert serve(maker, Prompt(hashes, context, generated, hits), cut, storage) == Proof()
        context += generated
    blocks = context // BLOCK
    expected = memoryview(bytearray(blocks * LAYOUT.full_block_bytes))
    fill_full(LAYOUT, hashes[:blocks], expected)
    assert storage == expected


def test_generated_bytes_that_are_wrong_are_named() -> None:
    maker, prompt = GeneratedKV(LAYOUT), Prompt(stream_hashes(1, 4), 20, 4, 2)
    geometry = Geometry(LAYOUT, 2, 20, 4, 1, 1)
    memory = memoryview(bytearray(geometry.hbm_bytes))
    wrong = maker.decode(prompt, maker.prefill(prompt).result()).load(geometry.prompt_parts(memory))
    assert wrong is not None
    assert (wrong.block, wrong.layer) == (0, 0)
    group = geometry.groups()[1]
    size = geometry.hit_in_slot(group).size
    found = maker.prefill(prompt).check(group, range(1, 3), memory[:size])
    assert found is not None
    assert (found.block, found.layer) == (1, 2)


@pytest.mark.parametrize("place", ["slot", "hbm"])
@pytest.mark.parametrize("bit", [0, 6, 15])
def test_a_flipped_bit_shows_in_the_proof(place: str, bit: int) -> None:
    """In what prefill reads, or in what decode reads: the digest of that layer, and the scores."""
    reference = Reference(CONFIG, SESSION_TOKENS)
    first, second = np.arange(30), np.arange(9)
    maker, hashes, storage = TransformerKV(CONFIG, LAYOUT), stream_hashes(1, 9), bytearray()
    context = as_bytes(first.tolist())
    serve(maker, Prompt(hashes, 30, 10, 0, context), Cut(2, 0, 99), storage)
    context += reference.turn(first, 10).tokens + as_bytes(second.tolist())
    right = reference.turn(second, 6)
    right = msgspec.structs.replace(right, hit_kv=reference.hit_kv(40))

    def tamper(where: str, memory: memoryview) -> None:
        # Block 0 comes first, and in it layer 0: this is the fifth value of layer 1 of all.
        if where == place:
            memory[LAYOUT.layer_block_bytes + 10 + bit // 8] ^= 1 << bit % 8

    cut = Cut(4, 2, 99)
    prompt = Prompt(hashes, 49, 6, 5, context)
    assert serve(maker, prompt, cut, bytearray(storage)) == right
    found = serve(maker, prompt, cut, bytearray(storage), tamper)
    assert found.logits != right.logits
    if place == "slot":
        same = [a == b for a, b in zip(found.hit_kv, right.hit_kv, strict=True)]
        assert same == [True, False, True, True]
    else:
        assert found.hit_kv == right.hit_kv
        assert found.kv[1] != right.kv[1]


def test_layers_out_of_order_and_missing_kv_are_refused() -> None:
    maker = TransformerKV(CONFIG, LAYOUT)
    prompt = Prompt(stream_hashes(1, 3), 16, 4, 0, as_bytes(list(range(16))))
    geometry = Geometry(LAYOUT, 2, 16, 4, 0, 0)
    memory = memoryview(bytearray(geometry.hbm_bytes))
    prefill = maker.prefill(prompt)
    group = geometry.groups()[1]
    with pytest.raises(ValueError, match="0 layers are done"):
        prefill.compute(group, memory[:0], geometry.miss_in_slot(group).of(memory))
    with pytest.raises(ValueError, match="not been through"):
        prefill.result()
    decode = maker.decode(prompt, GeneratedKV(LAYOUT).prefill(prompt).result())
    with pytest.raises(ValueError, match="KV of"):
        decode.load(geometry.prompt_parts(memory)[:1])
    with pytest.raises(ValueError, match="16 prompt tokens"):
        maker.prefill(prompt._replace(tokens=b""))
    with pytest.raises(ValueError, match="layout"):
        TransformerKV(CONFIG, KVLayout(4, 100, BLOCK))
