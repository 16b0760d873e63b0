"""The model: any cut of the work gives the same bytes, and every bit of KV matters."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from agents.transformer.cache import LayerKV
from agents.transformer.config import TINY, Config
from agents.transformer.generation import Generation, prefill
from agents.transformer.model import load_model

CONFIG = Config(
    layers=4, hidden=32, heads=4, kv_heads=2, head_dim=8, mlp=48, vocabulary=96, max_context=512
)


def some_tokens(seed: int, count: int, config: Config = CONFIG) -> NDArray[np.int64]:
    """Token ids."""
    return np.random.default_rng(seed).integers(0, config.vocabulary, count)


def empty(config: Config, capacity: int) -> list[LayerKV]:
    """The caches of all layers."""
    return [LayerKV(config, capacity) for _ in range(config.layers)]


def stored(kv: list[LayerKV]) -> bytes:
    """The KV of all layers."""
    return b"".join(layer.stored(0, layer.tokens).tobytes() for layer in kv)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 90), st.sets(st.integers(1, 89)), st.integers(0, 99))
def test_any_chunks_give_the_same_kv_and_tokens(tokens: int, cuts: set[int], seed: int) -> None:
    model, prompt = load_model(CONFIG), some_tokens(seed, tokens)
    whole, chunked = empty(CONFIG, tokens + 6), empty(CONFIG, tokens + 6)
    expected = prefill(model, prompt, whole)
    edges = [0, *sorted(cut for cut in cuts if cut < tokens), tokens]
    for first, after in pairwise(edges):
        found = prefill(model, prompt[first:after], chunked)
    assert stored(chunked) == stored(whole)
    for _ in zip(expected.generate(6), found.generate(6), strict=True):
        assert found.tokens == expected.tokens
    assert found.logits == expected.logits
    assert stored(chunked) == stored(whole)


def test_what_is_generated_is_what_its_prefill_would_have_chosen() -> None:
    """Decoding token by token and prefilling prompt and answer at once are one computation."""
    model, prompt = load_model(CONFIG), some_tokens(1, 40)
    kv, again = empty(CONFIG, 60), empty(CONFIG, 60)
    generation = prefill(model, prompt, kv)
    for _ in generation.generate(20):
        pass
    generation.absorb()
    prefill(model, np.concatenate((prompt, generation.tokens)), again)
    assert stored(again) == stored(kv)


def test_answers_depend_on_the_first_token_and_do_not_repeat_one() -> None:
    model, prompt = load_model(TINY), some_tokens(2, 200, TINY)

    def answer(first: int) -> list[int]:
        generation = prefill(model, np.concatenate(([first], prompt)), empty(TINY, 240))
        for _ in generation.generate(32):
            pass
        return generation.tokens

    answers = [answer(first) for first in (0, 1, 2)]
    assert len({tuple(tokens) for tokens in answers}) == 3
    assert all(len(set(tokens)) > 16 for tokens in answers)


def _answer(kv: list[LayerKV], miss: NDArray[np.int64]) -> Generation:
    generation = prefill(load_model(TINY), miss, kv)
    for _ in generation.generate(4):
        pass
    return generation


def _flipped(kv: list[LayerKV], layer: int, value: int, bit: int) -> list[LayerKV]:
    copies = empty(TINY, 260)
    for index, (source, target) in enumerate(zip(kv, copies, strict=True)):
        bits = source.stored(0, source.tokens).copy()
        if index == layer:
            bits.reshape(-1).view(np.uint16)[value] ^= np.uint16(1 << bit)
        target.append(bits)
    return copies


def test_the_scores_of_the_next_tokens_show_any_flipped_bit() -> None:
    """In every layer, of keys and of values, the lowest bit too: by computation alone."""
    prompt, rng = some_tokens(3, 200, TINY), np.random.default_rng(4)
    kv = empty(TINY, 192)
    prefill(load_model(TINY), prompt[:192], kv)
    expected = _answer(_flipped(kv, -1, 0, 0), prompt[192:])
    for layer in range(TINY.layers):
        for bit in (0, 7, 15):
            value = int(rng.integers(192 * TINY.kv_layer_bytes // 2))
            found = _answer(_flipped(kv, layer, value, bit), prompt[192:])
            assert found.logits != expected.logits, (layer, value, bit)


def test_two_swapped_layers_change_tokens() -> None:
    prompt = some_tokens(5, 100, TINY)
    kv = empty(TINY, 96)
    prefill(load_model(TINY), prompt[:96], kv)
    expected = _answer(_flipped(kv, -1, 0, 0), prompt[96:])
    swapped = _flipped(kv, -1, 0, 0)
    swapped[1], swapped[2] = swapped[2], swapped[1]
    assert _answer(swapped, prompt[96:]).tokens != expected.tokens


def _usual(tokens: NDArray[np.int64], config: Config) -> NDArray[np.float64]:
    """The scores after the last token, by the textbook and in floating point."""
    weights = load_model(config).weights
    half = config.head_dim // 2

    def norm(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        return rows / np.sqrt(np.mean(rows**2, axis=-1, keepdims=True))

    def heads(rows: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        return (rows @ matrix / 1024).reshape(len(tokens), -1, config.head_dim)

    def turn(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        angles = np.outer(
            np.arange(len(tokens)), 10_000.0 ** (-2 * np.arange(half) / config.head_dim)
        )
        pairs = (rows[..., :half] + 1j * rows[..., half:]) * np.exp(1j * angles)[:, None]
        return np.concatenate((pairs.real, pairs.imag), axis=-1)

    stream = weights.embedding[tokens] / 2**24
    for layer in weights.layers:
        rows = norm(stream)
        query, key = turn(heads(rows, layer.query)), turn(heads(rows, layer.key))
        value = heads(rows, layer.value)
        for head in range(config.heads):
            shared = head // (config.heads // config.kv_heads)
            scores = query[:, head] @ key[:, shared].T / np.sqrt(config.head_dim)
            scores = np.exp(np.where(np.tri(len(tokens)), scores, -np.inf))
            mean = scores @ value[:, shared] / scores.sum(axis=-1, keepdims=True)
            at = head * config.head_dim
            stream = stream + mean @ layer.output[at : at + config.head_dim] / 1024
        rows = norm(stream)
        gate = rows @ layer.gate / 1024
        inner = gate / (1 + np.exp(-gate)) * (rows @ layer.up / 1024)
        stream = stream + inner @ layer.down / 1024
    scores: NDArray[np.float64] = norm(stream[-1]) @ weights.head / 1024
    return scores


def test_it_is_a_transformer() -> None:
    """Fixed point is as near the textbook's floating point as 12 bits of KV allow."""
    tokens, kv = some_tokens(6, 50), empty(CONFIG, 50)
    model = load_model(CONFIG)
    stream = model.embed(tokens)
    for index, layer in enumerate(kv):
        stream = model.layer(index, stream, layer)
    found, usual = model.logits(stream[-1]) / 2**24, _usual(tokens, CONFIG)
    assert found.argmax() == usual.argmax()
    assert np.abs(found - usual).max() < 0.02 * usual.std()


def test_kv_takes_what_the_shape_says() -> None:
    layout = TINY.layout(64)
    assert layout.layer_block_bytes == 64 * 2 * TINY.kv_heads * TINY.head_dim * 2
    assert layout.full_block_bytes == 64 * TINY.kv_token_bytes


@pytest.mark.parametrize("change", [{"kv_heads": 3}, {"mlp": 512}, {"max_context": 10_000}])
def test_shapes_whose_sums_are_not_exact_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"share|exact"):
        Config(**{**msgspec.structs.asdict(CONFIG), **change})
