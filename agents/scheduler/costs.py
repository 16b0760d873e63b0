"""The cost model: when the hit KV of a request will be in HBM, by each read path.

With H tokens to read, Q tokens in the read queue of a node, and recent rates in tokens per second
(`agents.scheduler.views.Rates`):

    pe     read (Q_pe + H) / read_pe                    then load H / load_pe
    de     read (Q_de + H) / read_de                    then load H / fetch_pe
    split  read max((Q_pe + (1-x)H) / read_pe,          then load H / fetch_pe
                    (Q_de + xH) / read_de)              (or H / load_pe, whichever is slower)
    peer   read max(C / peer_de,                        then load H / fetch_pe
                    (Q_de + H - C) / read_de)

where C tokens are in the cache of another decode node, and what it lacks is read from storage.  In
the cache of the request's own decode node, C / peer_de is 0: a copy in DRAM, and no NIC.

A node's reads are a queue on one NIC, so what is before a request counts in full.  Layers are
loaded once all of it has been read; both parts of a split enter HBM by the same CNIC, so that the
load is no quicker than of one part alone, and the share x does not depend on it.

The balanced share is the one at which both parts have been read at once:

    (Q_pe + (1-x)H) / read_pe = (Q_de + xH) / read_de
    x = ((Q_pe + H) / read_pe - Q_de / read_de) / (H (1/read_pe + 1/read_de))

which, where it is outside 0 … 1, says that one side alone is done before the other could begin.

Left out: the wait for buffers and for a turn at the prefill engine, and compute, which are the same
by every path.
"""

from __future__ import annotations

from typing import NamedTuple

from agents.scheduler.views import NodeView, RequestView


class Finish(NamedTuple):
    """A prediction, in seconds from the decision.

    Args:
        read_s: until all hit KV is in DRAM.
        load_s: from then on until it is in HBM, if nothing else holds the engine up.
    """

    read_s: float
    load_s: float

    @property
    def total_s(self) -> float:
        """Until all hit KV is in HBM."""
        return self.read_s + self.load_s


def by_prefill(request: RequestView, prefill: NodeView, decode: NodeView) -> Finish:
    """Read on the prefill node."""
    return Finish(_read_s(prefill, request.hit_tokens), request.hit_tokens / prefill.rates.load)


def by_decode(request: RequestView, prefill: NodeView, decode: NodeView) -> Finish:
    """Read on the decode node."""
    return Finish(_read_s(decode, request.hit_tokens), request.hit_tokens / prefill.rates.fetch)


def by_both(request: RequestView, prefill: NodeView, decode: NodeView, de_share: float) -> Finish:
    """Read on both nodes at once.

    Args:
        de_share: of the hit tokens, on the decode node.
    """
    hit = request.hit_tokens
    read_s = max(_read_s(prefill, (1 - de_share) * hit), _read_s(decode, de_share * hit))
    return Finish(read_s, hit / min(prefill.rates.load, prefill.rates.fetch))


def by_peer(request: RequestView, prefill: NodeView, decode: NodeView) -> Finish | None:
    """From the cache of a decode node; None if none has any of it."""
    if not request.peer_tokens:
        return None
    network = request.peer != decode.name
    read_s = request.peer_tokens / decode.rates.peer if network else 0.0
    if rest := request.hit_tokens - request.peer_tokens:
        read_s = max(read_s, _read_s(decode, rest))
    return Finish(read_s, request.hit_tokens / prefill.rates.fetch)


def balanced_share(request: RequestView, prefill: NodeView, decode: NodeView) -> float:
    """The share of hit tokens on the decode node at which both have read their part at once."""
    hit = request.hit_tokens
    alone_s = _read_s(prefill, hit)
    begins_s = decode.read_queue_tokens / decode.rates.read
    token_s = 1 / prefill.rates.read + 1 / decode.rates.read
    if token_s == 0.0:  # nothing takes time
        return 0.5
    return min(1.0, max(0.0, (alone_s - begins_s) / (hit * token_s)))


def _read_s(node: NodeView, tokens: float) -> float:
    return (node.read_queue_tokens + tokens) / node.rates.read
