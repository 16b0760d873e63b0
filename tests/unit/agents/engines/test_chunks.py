"""A prompt in chunks fills the same memory as the prompt in one piece."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.blocks.layout import KVLayout
from agents.engines.chunks import Chunk, starting_at, whole
from agents.engines.geometry import Geometry, Span
from tests.unit.agents.engines.test_geometry import geometries, tiles


@st.composite
def chunked(draw: st.DrawFn) -> list[Chunk]:
    geometry = draw(geometries())
    inner = st.integers(1, max(1, geometry.miss_blocks - 1))
    ends = {*draw(st.sets(inner, max_size=4)), geometry.miss_blocks}
    edges = [0, *sorted(end for end in ends if end <= geometry.miss_blocks)]
    return [Chunk(geometry, a, b) for a, b in itertools.pairwise(edges)]


@given(chunked())
def test_chunks_compute_each_token_once_after_all_before_it(chunks: list[Chunk]) -> None:
    at = chunks[0].geometry.hit_tokens
    for chunk in chunks:
        assert chunk.context_tokens == at
        at += chunk.tokens
    assert at == chunks[0].geometry.prompt_tokens
    assert [chunk.is_last for chunk in chunks] == [False] * (len(chunks) - 1) + [True]


@given(chunked())
def test_a_slot_is_hits_then_chunk_after_chunk(chunks: list[Chunk]) -> None:
    geometry = chunks[0].geometry
    for group in geometry.groups():
        fresh = [chunk.fresh_in_slot(group) for chunk in chunks]
        assert tiles([geometry.hit_in_slot(group), *fresh], group.count * geometry.layer_bytes)
        for chunk in chunks:
            before = [geometry.hit_in_slot(group), chunk.earlier_in_slot(group)]
            assert tiles(before, chunk.fresh_in_slot(group).offset)


@given(chunked())
def test_returns_of_all_chunks_tile_that_of_the_whole(chunks: list[Chunk]) -> None:
    geometry = chunks[0].geometry
    for group in geometry.groups():
        parts = [chunk.returned_to_buffer(group) for chunk in chunks]
        start = geometry.returned_to_buffer(group).offset
        shifted = [Span(part.offset - start, part.size) for part in parts]
        assert tiles(shifted, geometry.returned_to_buffer(group).size)
        sizes = [chunk.returned_from_slot(group).size for chunk in chunks]
        assert sizes == [part.size for part in parts]


@given(geometries())
def test_the_whole_is_a_chunk(geometry: Geometry) -> None:
    chunk = whole(geometry)
    for group in geometry.groups():
        assert chunk.returned_from_slot(group) == geometry.returned_from_slot(group)
        assert chunk.returned_to_buffer(group) == geometry.returned_to_buffer(group)
        assert chunk.fresh_in_slot(group) == geometry.miss_in_slot(group)
        assert chunk.earlier_in_slot(group).size == 0


def test_a_chunk_ends_where_a_block_does() -> None:
    geometry = Geometry(KVLayout(2, 8), 1, 300, 10, 0, 1)  # 236 miss tokens
    assert starting_at(geometry, 0, 128) == Chunk(geometry, 0, 2)
    assert starting_at(geometry, 2, 108) == Chunk(geometry, 2, 4)
    for tokens in (0, 100, 192):
        with pytest.raises(ValueError, match="a chunk of"):
            starting_at(geometry, 2, tokens)
