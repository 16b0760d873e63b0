"""When the blocks that a request generates are full."""

from __future__ import annotations

import pytest

from agents.blocks.layout import KVLayout
from agents.engines.decoding import _full_at
from agents.engines.geometry import Geometry

LAYOUT = KVLayout(layers=2, layer_block_bytes=64, block_tokens=64)


@pytest.mark.parametrize(
    ("prompt_tokens", "generate_tokens", "steps"),
    [
        (64, 63, []),
        (64, 64, [64]),
        (65, 63, [63]),  # the prompt's tail is the first token of the block
        (127, 1, [1]),
        (127, 129, [1, 65, 129]),
        (100, 200, [28, 92, 156]),
    ],
)
def test_a_block_is_full_when_prompt_and_steps_fill_it(
    prompt_tokens: int, generate_tokens: int, steps: list[int]
) -> None:
    geometry = Geometry(LAYOUT, 1, prompt_tokens, generate_tokens, 0, 0)
    assert _full_at(geometry) == steps
