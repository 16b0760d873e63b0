"""A read-path policy to begin your own from: two thirds on the side that is quicker now.

    testbed run demo --set 'policies=[shorter-queue, scripts/examples/shares.py:TwoThirds]'

`choose` is asked once for each request that has something in storage, when its prefill engine and
its decode engine are known.  It is told of the request and of the two nodes
(`agents.scheduler.views`), and answers "pe" (read on the prefill node), "de" (on the decode
node) or `Split(x)`: share x of the blocks on the decode node, the rest on the prefill node.
"""

from __future__ import annotations

from agents.scheduler.costs import by_decode, by_prefill
from agents.scheduler.views import Choice, NodeView, RequestView, Split

LONG_TOKENS = 4096


class TwoThirds:
    """Long contexts are split, two to one; short ones are read where it is quicker."""

    def choose(self, request: RequestView, prefill: NodeView, decode: NodeView) -> Choice:
        """Which side is quicker follows from the queues and from what NICs carried of late."""
        pe_s = by_prefill(request, prefill, decode).read_s
        de_s = by_decode(request, prefill, decode).read_s
        if request.hit_tokens < LONG_TOKENS:
            return "pe" if pe_s <= de_s else "de"
        return Split(1 / 3) if pe_s <= de_s else Split(2 / 3)
