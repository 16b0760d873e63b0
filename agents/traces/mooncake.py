"""Mooncake's trace form: one request a line, released by the clock, prefixes shared by all.

    {"timestamp": ms, "input_length": tokens, "output_length": tokens, "hash_ids": [...]}

`hash_ids` names the prompt's blocks of 512 tokens, the last one perhaps not full; equal ids mean
equal prefixes, whoever asks.  Each id stands for eight blocks of 64 tokens here.  What is
generated gets hashes of its own, for the trace does not say which later prompt holds it.

Source: Mooncake, FAST'25, section "Trace"; the published conversation, tool-and-agent and
synthetic traces have this form.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from agents.blocks.hashing import Hashes, mix, stream_id
from agents.traces.lines import read_lines
from agents.traces.session import BLOCK_TOKENS, Session, Turn
from testbed.errors import ScenarioError

MOONCAKE_BLOCK_TOKENS = 512
_BLOCKS_PER_ID = MOONCAKE_BLOCK_TOKENS // BLOCK_TOKENS


class _Request(msgspec.Struct, frozen=True):
    timestamp: Annotated[float, msgspec.Meta(ge=0)]
    input_length: Annotated[int, msgspec.Meta(ge=1)]
    output_length: Annotated[int, msgspec.Meta(ge=0)]
    hash_ids: list[Annotated[int, msgspec.Meta(ge=0, lt=1 << 60)]]


def read_requests(
    path: Path,
    *,
    max_context_tokens: int | None = None,
    time_factor: float = 1.0,
    origin_s: float = 0.0,
) -> list[Session]:
    """The requests of a trace as sessions of one turn, in the order of their release.

    Args:
        path: the trace, plain or gzip.
        max_context_tokens: longer requests are left out.
        origin_s: the second of the trace that becomes 0; requests before are released at negative
            times.
        time_factor: multiplies the trace's own times, counted from there.

    Raises:
        ScenarioError: a line is wrong, or no request is short enough.
    """
    shared, private = stream_id("mooncake"), stream_id("mooncake generated")
    sessions: list[Session] = []
    before = 0.0
    for number, (place, request) in enumerate(read_lines(path, _Request)):
        prompt, generate = request.input_length, max(1, request.output_length)
        if len(request.hash_ids) != -(-prompt // MOONCAKE_BLOCK_TOKENS):
            raise ScenarioError(
                f"{place}: {len(request.hash_ids)} hash ids for {prompt} tokens",
                hint=f"there must be one for every {MOONCAKE_BLOCK_TOKENS} tokens begun",
            )
        if request.timestamp < before:
            raise ScenarioError(
                f"{place}: released at {request.timestamp:g} ms, the request before it at "
                f"{before:g} ms",
                hint="sort the trace by its timestamps",
            )
        before = request.timestamp
        if max_context_tokens is not None and prompt + generate > max_context_tokens:
            continue
        hashes = np.concatenate(
            [
                _prompt_hashes(shared, request.hash_ids)[: prompt // BLOCK_TOKENS],
                _generated_hashes(private, number, prompt, generate),
            ]
        )
        release_s = (request.timestamp / 1000 - origin_s) * time_factor
        turn = Turn(prompt, generate, hashes, release_s=release_s)
        sessions.append(Session(f"request-{number}", (turn,)))
    if not sessions:
        raise ScenarioError(
            f"every request of {path} is longer than {max_context_tokens} tokens",
            hint="raise workload.max_context, or leave it out",
        )
    return sessions


def _prompt_hashes(stream: int, ids: list[int]) -> Hashes:
    """Eight block hashes for every id."""
    blocks: Hashes = np.repeat(np.array(ids, np.uint64), _BLOCKS_PER_ID)
    blocks *= np.uint64(_BLOCKS_PER_ID)
    blocks += np.tile(np.arange(_BLOCKS_PER_ID, dtype=np.uint64), len(ids))
    return mix(stream, blocks)


def _generated_hashes(stream: int, number: int, prompt: int, generate: int) -> Hashes:
    """Hashes of the blocks that the prompt does not fill, known to this request alone."""
    count = -(-(prompt + generate) // BLOCK_TOKENS) - prompt // BLOCK_TOKENS
    first = number << 24
    return mix(stream, np.arange(first, first + count, dtype=np.uint64))
