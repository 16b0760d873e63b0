"""Generated KV at the engines: hits are checked, misses made, and a tail kept as it arrived."""

from __future__ import annotations

from agents.blocks.generate import Mismatch, fill_full, fill_group
from agents.blocks.generated import GeneratedKV
from agents.blocks.hashing import stream_hashes
from agents.blocks.layout import KVLayout
from agents.blocks.maker import Part, Prefilled, Prompt

LAYOUT = KVLayout(layers=3, layer_block_bytes=128, block_tokens=64)
HASHES = stream_hashes(5, 4)
TAIL = 20  # tokens of the prompt in its last block
PROMPT = Prompt(HASHES, 2 * 64 + TAIL, 200, 1)


def group_of(first: int, count: int, last_block_tokens: int = 64) -> memoryview:
    """Blocks 0 … 2 of some layers, in group form."""
    memory = memoryview(bytearray(LAYOUT.group_bytes(count, 3, last_block_tokens)))
    fill_group(LAYOUT, HASHES[:3], first, count, last_block_tokens, memory)
    return memory


def test_a_wrong_byte_of_a_hit_is_found_and_named() -> None:
    kv = GeneratedKV(LAYOUT).prefill(PROMPT)
    group = LAYOUT.groups(2)[0]
    memory = group_of(group.first, group.count)
    hits = memory[: 2 * group.count * LAYOUT.layer_block_bytes]
    assert kv.check(group, range(2), hits) is None
    hits[-1] ^= 1
    assert kv.check(group, range(2), hits) == Mismatch(1, 1)
    # Of a chunk's earlier blocks, numbers are the prompt's.
    assert kv.check(group, range(1, 2), hits[len(hits) // 2 :]) == Mismatch(1, 1)


def test_the_block_that_generation_completes_begins_with_the_tail_as_it_arrived() -> None:
    kv = GeneratedKV(LAYOUT).decode(PROMPT, Prefilled())
    arrived = group_of(0, 3, TAIL)
    assert kv.load([Part(0, 3, 0, 3, TAIL, arrived)]) is None
    tail = LAYOUT.token_bytes(TAIL)
    # A bit of the tail's last layer flips after it was checked: it must not be made good.
    arrived[-1] ^= 1
    out = memoryview(bytearray(LAYOUT.full_block_bytes))
    kv.block(2, out)
    right = memoryview(bytearray(LAYOUT.full_block_bytes))
    fill_full(LAYOUT, HASHES[2:3], right)
    wrong = [at for at in range(len(out)) if out[at] != right[at]]
    assert wrong == [2 * LAYOUT.layer_block_bytes + tail - 1]
    kv.block(3, out)  # has nothing of the prompt
    fill_full(LAYOUT, HASHES[3:4], right)
    assert out == right


def test_wrong_bytes_of_the_prompt_are_found_at_decode_too() -> None:
    kv = GeneratedKV(LAYOUT).decode(PROMPT, Prefilled())
    arrived = group_of(1, 2, TAIL)
    arrived[0] ^= 1
    assert kv.load([Part(0, 3, 1, 2, TAIL, arrived)]) == Mismatch(0, 1)
