"""The header comes back as it was, and nothing else passes for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.wire.header import (
    FIELDS,
    HEADER_BYTES,
    HELLO,
    KINDS,
    LANES,
    MAX_NAME_BYTES,
    MAX_WRITE_BYTES,
    PATHS,
    WRITE,
    Header,
    HeaderError,
    decode,
    encode,
)

U16 = st.integers(0, 2**16 - 1)
U64 = st.integers(0, 2**64 - 1)


@st.composite
def headers(draw: st.DrawFn) -> Header:
    kind = draw(st.sampled_from(list(KINDS.values())))
    longest = MAX_NAME_BYTES if kind == HELLO else MAX_WRITE_BYTES
    return Header(
        kind=kind,
        lane=draw(st.sampled_from(list(LANES.values()))),
        path=draw(st.sampled_from(list(PATHS.values()))),
        flags=0,
        sequence=draw(U16),
        layer_first=draw(U16),
        layer_count=draw(U16),
        request=draw(U64),
        key=draw(U64),
        offset=draw(U64),
        length=draw(st.integers(1 if kind == HELLO else 0, longest)),
        immediate=draw(U64),
        digest=draw(U64),
    )


PLAIN = Header(WRITE, LANES["kv"], PATHS["de"], 0, 0, 0, 4, 7, 1, 64, 1000, 9, 0)


@given(headers())
def test_a_header_comes_back(header: Header) -> None:
    data = encode(header)
    assert len(data) == HEADER_BYTES == 72
    assert decode(data) == header
    assert decode(memoryview(data)) == header


def test_the_table_is_what_is_decoded() -> None:
    names = [field.name for field in FIELDS]
    assert names == ["magic", "version", *Header._fields, "check"]


@given(st.binary(max_size=2 * HEADER_BYTES))
def test_random_bytes_are_no_header(data: bytes) -> None:
    with pytest.raises(HeaderError):
        decode(data)


@given(headers(), st.integers(0, HEADER_BYTES - 1), st.integers(1, 255))
def test_one_wrong_byte_is_found(header: Header, at: int, flip: int) -> None:
    data = bytearray(encode(header))
    data[at] ^= flip
    with pytest.raises(HeaderError):
        decode(data)


def test_the_sequence_wraps() -> None:
    assert decode(encode(PLAIN._replace(sequence=2**16 + 5))).sequence == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": 3}, "kind 3"),
        ({"lane": 0}, "lane 0"),
        ({"path": 9}, "path 9"),
        ({"flags": 1}, "flags 0x1"),
        ({"length": MAX_WRITE_BYTES + 1}, "payload of"),
        ({"kind": HELLO, "length": 0}, "a name of 0 bytes"),
        ({"kind": HELLO, "length": 256}, "a name of 256 bytes"),
        ({"layer_first": 2**16}, "does not fit"),
        ({"offset": -1}, "does not fit"),
        ({"immediate": 2**64}, "does not fit"),
        ({"length": -1}, "does not fit"),
    ],
)
def test_a_value_out_of_bounds_is_not_sent(change: dict[str, int], message: str) -> None:
    with pytest.raises(HeaderError, match=message):
        encode(PLAIN._replace(**change))
