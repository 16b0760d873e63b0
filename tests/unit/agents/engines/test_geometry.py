"""Where KV lies: every buffer is tiled exactly, whatever the request."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents.blocks.layout import KVLayout
from agents.engines.geometry import Geometry, Span


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    layout = KVLayout(draw(st.integers(1, 13)), draw(st.integers(1, 90)), 64)
    prompt = draw(st.integers(1, 2000))
    hits = draw(st.integers(0, (prompt - 1) // 64))
    own = draw(st.integers(0, hits))
    layers, generated = draw(st.integers(1, 13)), draw(st.integers(1, 300))
    return Geometry(layout, layers, prompt, generated, own, hits - own)


def tiles(spans: list[Span], size: int) -> bool:
    """The spans cover 0..size without gap or overlap."""
    at = 0
    for span in sorted((s for s in spans if s.size), key=lambda s: s.offset):
        if span.offset != at:
            return False
        at += span.size
    return at == size


@given(geometries())
def test_groups_are_all_layers_once(geometry: Geometry) -> None:
    layers = [layer for g in geometry.groups() for layer in range(g.first, g.first + g.count)]
    assert layers == list(range(geometry.layout.layers))


@given(geometries())
def test_returns_tile_what_the_read_left_free(geometry: Geometry) -> None:
    spans = [geometry.returned_to_buffer(group) for group in geometry.groups()]
    spans.append(Span(0, geometry.de_bytes))
    assert tiles(spans, geometry.prompt_bytes)


@given(geometries())
def test_a_slot_is_hits_then_misses(geometry: Geometry) -> None:
    for group in geometry.groups():
        hit, miss = geometry.hit_in_slot(group), geometry.miss_in_slot(group)
        assert tiles([hit, miss], group.count * geometry.layer_bytes)
        assert hit.size + miss.size <= geometry.slot_bytes
        assert tiles([geometry.de_in_slot(group), geometry.pe_in_slot(group)], hit.size)
        assert geometry.returned_from_slot(group).size == geometry.returned_to_buffer(group).size


@given(geometries())
def test_miss_parts_in_the_buffer_have_the_size_of_those_in_the_slot(geometry: Geometry) -> None:
    for group in geometry.groups():
        assert geometry.miss_in_buffer(group).size == geometry.miss_in_slot(group).size


@given(geometries())
def test_tokens_add_up(geometry: Geometry) -> None:
    assert geometry.hit_tokens + geometry.miss_tokens == geometry.prompt_tokens
    assert geometry.miss_tokens >= 1
    total = geometry.prompt_tokens + geometry.generate_tokens
    assert geometry.prompt_full_blocks + geometry.generated_full_blocks == total // 64
