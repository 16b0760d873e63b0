"""What a read-path policy is told, and what it may answer."""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

from agents.read_path import Source


class RequestView(NamedTuple):
    """What a policy may know of a request.

    Args:
        request: number of the try; of the first one, the request's own.
        prompt_tokens: of the whole prompt.
        hit_tokens: of it, how many are read from storage.
        block_tokens: of a block; hits are whole blocks.
        peer: decode node whose cache has the longest part of the hits; "" for none.
        peer_tokens: that part, from the first token on.
    """

    request: int
    prompt_tokens: int
    hit_tokens: int
    block_tokens: int = 64
    peer: str = ""
    peer_tokens: int = 0


class Rates(NamedTuple):
    """What a node's NICs carried of late while they were asked to, in tokens of KV per second.

    Args:
        read: from storage into DRAM, by the SNIC: all reads of the node together.
        load: from the PE buffer into the HBM of one of its engines, by that engine's CNIC.
        fetch: from a DE buffer into the HBM of one of its engines, over the compute fabric.
        peer: from another decode node's cache into its DRAM, by one of its CNICs.
    """

    read: float = math.inf
    load: float = math.inf
    fetch: float = math.inf
    peer: float = math.inf


class NodeView(NamedTuple):
    """What a policy may know of the node of an engine.

    Args:
        name: e.g. "pe0".
        read_queue_tokens: tokens of the reads that are assigned to the node and not finished.
        read_queue_requests: their number.
        rates: what its NICs carried of late; the line's rates before anything was measured.
    """

    name: str
    read_queue_tokens: int
    read_queue_requests: int
    rates: Rates = Rates()


class Split(NamedTuple):
    """Read on both sides at once.

    Args:
        de_share: of the hit blocks, 0 … 1, the decode node reads: the first ones, rounded to whole
            blocks.
    """

    de_share: float


Choice: TypeAlias = Source | Split
"""`"pe"` to read on the prefill node, `"de"` on the decode node, a `Split` for both; `"peer"` to
take from `RequestView.peer` what its cache has, and read the rest on the decode node."""
