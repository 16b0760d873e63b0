"""What the 64-bit immediate of a write says: whose it is, what it is for, which part.

bits 63..24  request (or put) number
bits 23..17  kind
bit  16      last write of its transfer
bits 15..0   part (a layer group, a generated block): depends on the kind
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class Kind(enum.IntEnum):
    """What a transfer is for."""

    STORAGE_READ = 1  # storage -> DRAM: Full Blocks of the hit tokens
    DIGESTS = 2  # storage -> DRAM: their digests
    LAYER_LOAD = 3  # PE buffer -> HBM of a prefill engine
    KV_RETURN = 4  # HBM of a prefill engine -> DE buffer
    H2D = 5  # DE buffer -> HBM of the decode engine
    D2H = 6  # HBM of the decode engine -> DRAM: generated blocks
    STORAGE_WRITE = 7  # DRAM -> storage: Full Blocks to keep
    LAYER_FETCH = 8  # DE buffer -> HBM of a prefill engine
    CHUNK_RETURN = 9  # as KV_RETURN, of a prompt's chunks but the last
    CHUNK_FETCH = 10  # as LAYER_FETCH, of what earlier chunks returned
    PEER_READ = 16  # cache of a decode node -> DE buffer of another: Full Blocks
    # Model execution, numbered by the operation: see `agents.traffic`.
    DISPATCH = 32  # HBM -> HBM of another engine: tokens, to the node of their experts
    FORWARD = 33  # HBM -> HBM inside a node: tokens, on to the GPU of their experts
    GATHER = 34  # HBM -> HBM inside a node: results, back to where tokens entered it
    COMBINE = 35  # HBM -> HBM: results, back to the tokens' engine
    REDUCE = 36  # HBM -> HBM inside a node: one step of a ring all-reduce


class Immediate(NamedTuple):
    """The parts of an immediate."""

    number: int
    kind: Kind
    last: bool
    part: int


def pack(number: int, kind: Kind, part: int, *, last: bool) -> int:
    """The 64-bit value of an immediate; ValueError if a part does not fit."""
    if not (0 <= number < 1 << 40 and 0 <= part < 1 << 16):
        raise ValueError(f"number {number} or part {part} does not fit an immediate")
    return number << 24 | kind << 17 | last << 16 | part


def unpack(value: int) -> Immediate:
    """The inverse of `pack`; ValueError for an unknown kind."""
    return Immediate(value >> 24, Kind(value >> 17 & 0x7F), bool(value >> 16 & 1), value & 0xFFFF)
