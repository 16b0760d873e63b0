from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.kernel.attributes import Names, attributes, text, uint8, uint32, uint64


def encoded(values: dict[int, bytes]) -> bytes:
    data = b""
    for kind, value in values.items():
        data += struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)
    return data


@given(st.dictionaries(st.integers(0, 0x3FFF), st.binary(max_size=40)), st.binary(max_size=20))
def test_attributes_are_found_behind_a_header(values: dict[int, bytes], header: bytes) -> None:
    assert attributes(header + encoded(values), len(header)) == values


def test_flags_of_the_type_are_no_part_of_it() -> None:
    assert attributes(struct.pack("=HHI", 8, 0x8000 | 18, 1)) == {18: struct.pack("=I", 1)}


@pytest.mark.parametrize("length", [0, 3, 9, 200])
def test_a_length_that_cannot_be_is_an_error(length: int) -> None:
    with pytest.raises(ValueError, match="attribute 5"):
        attributes(struct.pack("=HHI", length, 5, 0))


def test_values() -> None:
    assert (uint8(b"\x07"), uint32(b"\1\0\0\0"), uint64(b"\2" + bytes(7))) == (7, 1, 2)
    assert (uint8(None), uint32(None), uint64(None), text(None)) == (None, None, None, "")
    assert text(b"lo\0\0\0") == "lo"


def test_names() -> None:
    names = Names()
    assert names.ip[b"\x0a\0\0\1"] == "10.0.0.1"
    assert names.ip[bytes(15) + b"\1"] == "::1"
    assert names.mac[bytes(5) + b"\xff"] == "00:00:00:00:00:ff"
