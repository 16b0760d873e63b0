"""The header before every message between two memory ports: one table of fields, and its codec.

`FIELDS` is the only place that says what the 72 bytes are; encoding, decoding and the scapy
layer (`agents.dissect`) all come from it.  A message is a header and `length` bytes of payload:
the name of the caller for HELLO, KV (or other registered memory) for WRITE.  Everything is in
network byte order.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import xxhash

from testbed.errors import TestbedError
from testbed.plan.lanes import KV_TOS, MODEL_TOS


class Field(NamedTuple):
    """One field of the header.

    Args:
        name: as in `Header`.
        code: format character of struct(3), big-endian.
        meaning: for people.
        names: what its values are called, if they have names.
    """

    name: str
    code: str
    meaning: str
    names: dict[str, int] | None = None


MAGIC = int.from_bytes(b"DPKV", "big")
VERSION = 2
KINDS = {"hello": 1, "write": 2}
LANES = {"model": 1, "kv": 2}
LANE_TOS = {"model": MODEL_TOS, "kv": KV_TOS}
PATHS = {"none": 0, "pe": 1, "de": 2, "peer": 3, "split": 4}
HELLO, WRITE = KINDS["hello"], KINDS["write"]

MAX_WRITE_BYTES = 1 << 30
MAX_NAME_BYTES = 255

FIELDS = (
    Field("magic", "I", "the bytes DPKV"),
    Field("version", "B", "of this table"),
    Field("kind", "B", "what the message is", KINDS),
    Field("lane", "B", "the virtual lane of the queue pair", LANES),
    Field("path", "B", "the read path of the request", PATHS),
    Field("flags", "H", "none is defined: zero"),
    Field("sequence", "H", "messages before this one on the queue pair, modulo 2^16"),
    Field("layer_first", "H", "first layer in the payload"),
    Field("layer_count", "H", "layers in the payload; 0 is all of them (Full Blocks)"),
    Field("request", "Q", "the request whose KV this is"),
    Field("key", "Q", "the region of the receiver's that the payload lands in"),
    Field("offset", "Q", "where in the region, in bytes"),
    Field("length", "I", "of the payload, in bytes"),
    Field("immediate", "Q", "handed to the receiver with the completion"),
    Field("digest", "Q", "xxh3-64 of the payload; 0 if the sender gives none"),
    Field("posted", "Q", "when it was posted: ns of CLOCK_MONOTONIC, one clock on one machine"),
    Field("check", "I", "xxh32 of the header before this field"),
)

_CODEC = struct.Struct("!" + "".join(field.code for field in FIELDS))
_CHECK = struct.Struct("!I")
HEADER_BYTES = _CODEC.size
_CHECKED_BYTES = HEADER_BYTES - _CHECK.size
_KINDS = frozenset(KINDS.values())
_LANES = frozenset(LANES.values())
_PATHS = frozenset(PATHS.values())


class HeaderError(TestbedError):
    """Bytes that should be a header are not one."""

    kind = "wire"


class Header(NamedTuple):
    """A decoded header, without the fields that only guard it: see `FIELDS`."""

    kind: int
    lane: int
    path: int
    flags: int
    sequence: int
    layer_first: int
    layer_count: int
    request: int
    key: int
    offset: int
    length: int
    immediate: int
    digest: int
    posted: int = 0


def encode(header: Header) -> bytes:
    """The bytes of a header, its check included; `HeaderError` if a value is not allowed.

    `sequence` may be any number of messages: it wraps here.
    """
    values = header._replace(sequence=header.sequence & 0xFFFF)
    wrong = problem(values)
    if wrong:
        raise HeaderError(f"a header cannot say {wrong}: {header}")
    try:
        data = _CODEC.pack(MAGIC, VERSION, *values, 0)
    except struct.error as error:
        raise HeaderError(f"a value does not fit the header ({error}): {header}") from error
    checked = data[:_CHECKED_BYTES]
    return checked + _CHECK.pack(xxhash.xxh32_intdigest(checked))


def decode(data: bytes | bytearray | memoryview) -> Header:
    """The header in `HEADER_BYTES` bytes; `HeaderError`, and nothing else, if it is not one."""
    if len(data) != HEADER_BYTES:
        raise HeaderError(f"a header has {HEADER_BYTES} bytes, not {len(data)}")
    magic, version, *values, check = _CODEC.unpack(data)
    if magic != MAGIC:
        raise HeaderError(f"not a header: it begins with {bytes(data[:4])!r}")
    if version != VERSION:
        raise HeaderError(f"a header of version {version}; this program speaks {VERSION}")
    if check != xxhash.xxh32_intdigest(data[:_CHECKED_BYTES]):
        raise HeaderError("a header whose bytes do not match its check")
    header = Header._make(values)
    wrong = problem(header)
    if wrong:
        raise HeaderError(f"a header that says {wrong}")
    return header


def problem(header: Header) -> str:
    """What in a header is outside its bounds; empty if nothing is."""
    if header.kind not in _KINDS:
        return f"kind {header.kind}"
    if header.lane not in _LANES:
        return f"lane {header.lane}"
    if header.path not in _PATHS:
        return f"path {header.path}"
    if header.flags:
        return f"flags {header.flags:#x}"
    if header.kind == HELLO and not 1 <= header.length <= MAX_NAME_BYTES:
        return f"a name of {header.length} bytes"
    if header.length > MAX_WRITE_BYTES:
        return f"a payload of {header.length} bytes"
    return ""
