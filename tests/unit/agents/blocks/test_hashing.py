"""Hashes of prefix blocks name them, and nothing else."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agents.blocks.hashing import mix, stream_hashes, stream_id


@given(st.integers(0, 2**64 - 1), st.integers(0, 500), st.integers(0, 500))
def test_a_stream_can_be_asked_for_any_part(stream: int, first: int, count: int) -> None:
    whole = stream_hashes(stream, first + count)
    assert np.array_equal(stream_hashes(stream, count, first), whole[first:])


def test_no_two_blocks_share_a_hash() -> None:
    streams = [stream_hashes(stream_id(f"agent {n}"), 2000) for n in range(50)]
    assert len(np.unique(np.concatenate(streams))) == 100_000


@given(st.lists(st.integers(0, 2**64 - 1), unique=True))
def test_foreign_ids_stay_apart(ids: list[int]) -> None:
    values = np.array(ids, np.uint64)
    hashes = mix(stream_id("trace"), values)
    assert len(np.unique(hashes)) == len(ids)
    assert np.array_equal(values, np.array(ids, np.uint64))  # the argument is left alone
