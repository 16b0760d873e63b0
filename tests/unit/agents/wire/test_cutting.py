"""Cutting transfers into writes, naming queue pairs, packing immediates."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.wire.immediates import Kind, pack, unpack
from agents.wire.pair_names import Route, pair_name, parse_pair
from agents.wire.transfers import cut, source_bytes
from agents.wire.transport import FileRange


@given(st.lists(st.integers(1, 900), min_size=1, max_size=6), st.integers(1, 700))
def test_cut_keeps_every_byte_in_order(sizes: list[int], limit: int) -> None:
    data = bytes(i % 251 for i in range(sum(sizes)))
    sources, at = [], 0
    for size in sizes:
        sources.append(memoryview(data)[at : at + size])
        at += size
    writes = cut(sources, limit)
    assert b"".join(bytes(piece) for write in writes for piece in write) == data
    lengths = [sum(piece.nbytes for piece in write) for write in writes]
    assert all(length == limit for length in lengths[:-1])
    assert 0 < lengths[-1] <= limit


def test_cut_divides_file_ranges() -> None:
    assert cut([FileRange(5, 100, 10), FileRange(5, 300, 3)], 8) == [
        [FileRange(5, 100, 8)],
        [FileRange(5, 108, 2), FileRange(5, 300, 3)],
    ]
    assert source_bytes(FileRange(5, 100, 10)) == 10


@given(
    st.integers(0, 2**40 - 1), st.sampled_from(list(Kind)), st.integers(0, 2**16 - 1), st.booleans()
)
def test_an_immediate_comes_back(number: int, kind: Kind, index: int, last: bool) -> None:
    value = pack(number, kind, index, last=last)
    assert 0 <= value < 2**64
    assert unpack(value) == (number, kind, last, index)


def test_an_immediate_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        pack(2**40, Kind.H2D, 0, last=True)
    with pytest.raises(ValueError, match="does not fit"):
        pack(1, Kind.H2D, 2**16, last=True)


def test_both_ends_of_a_pair_see_each_other() -> None:
    called = parse_pair(pair_name("pe0g3", "de1", "cnic5", "called"))
    caller = parse_pair(pair_name("pe0g3", "de1", "cnic5", "caller"))
    assert called == Route("de1", "pe0g3", "cnic5")
    assert caller == Route("pe0g3", "de1", "cnic5")
