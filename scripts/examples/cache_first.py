"""A read-path policy that takes from a decode node's cache whatever one has.

    testbed run demo --set 'policies=[shorter-queue, scripts/examples/cache_first.py:CacheFirst]'

`uses_cache` has decode nodes keep KV after its use; without it `request.peer` names nobody.
"""

from __future__ import annotations

from agents.scheduler.views import Choice, NodeView, RequestView


class CacheFirst:
    """A cache before storage; else the shorter read queue."""

    uses_cache = True

    def choose(self, request: RequestView, prefill: NodeView, decode: NodeView) -> Choice:
        """Without a look at what the fabric carries: see the policy `adaptive` for that."""
        if request.peer:
            return "peer"
        return "pe" if prefill.read_queue_tokens <= decode.read_queue_tokens else "de"
