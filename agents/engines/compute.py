"""The time that engines compute: one prefill engine is one server, FIFO."""

from __future__ import annotations

import asyncio

import numpy as np

from agents.cluster import Compute


class ComputeClock:
    """Compute time of one engine, handed out in the order of asking.

    Only the running loop's clock is read, so that virtual time can drive it unchanged.
    """

    def __init__(self) -> None:
        self._free_at_s = 0.0
        self.busy_s = 0.0

    async def run(self, duration_s: float) -> None:
        """Compute for `duration_s` as soon as the work asked for before is done."""
        if duration_s <= 0.0:
            return
        loop = asyncio.get_running_loop()
        self._free_at_s = max(self._free_at_s, loop.time()) + duration_s
        self.busy_s += duration_s
        while (wait_s := self._free_at_s - loop.time()) > 0:
            await asyncio.sleep(wait_s)


def prefill_s(compute: Compute, hit_tokens: int, miss_tokens: int) -> float:
    """Seconds one engine needs to prefill `miss_tokens` after `hit_tokens` of context, all layers.

    A·(2N + F(L)) FLOPs (DualPath, section 3, Table 1); F is averaged over the context lengths that
    the appended tokens find.
    """
    points = np.array(compute.attention_flops)
    first, last = float(hit_tokens), float(hit_tokens + max(1, miss_tokens))
    inside = points[(points[:, 0] > first) & (points[:, 0] < last), 0]
    edges = np.concatenate([[first], inside, [last]])
    flops = np.interp(edges, points[:, 0], points[:, 1])
    attention = float(np.trapezoid(flops, edges)) / (last - first)
    return miss_tokens * (2 * compute.active_parameters + attention) * compute.seconds_per_flop
