"""The time that engines compute: how long a batch takes, and one engine's clock.

The FLOPs of a batch follow from its tokens (DualPath, section 3, Table 1).  Attention takes its
FLOPs at the engine's theoretical rate, which is also what the compute quota is counted in.  The
whole batch takes its FLOPs at the effective rate, less for small batches; what that leaves besides
attention is called FFN here: experts, projections, and whatever else makes an engine slower than
its data sheet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from agents.cluster import Compute
from agents.compute import batch_gain, batch_size


class BatchTimes(NamedTuple):
    """Emulated seconds of a batch, all layers."""

    attention_s: float
    ffn_s: float


def attention_flops(compute: Compute, context_tokens: int, tokens: int) -> float:
    """FLOPs of attention of `tokens` tokens after a context, all layers.

    The n-th of them also attends to those before it: F is averaged over the context lengths that
    they find.
    """
    points = np.array(compute.attention_flops)
    first, last = float(context_tokens), float(context_tokens + max(1, tokens))
    inside = points[(points[:, 0] > first) & (points[:, 0] < last), 0]
    edges = np.concatenate([[first], inside, [last]])
    flops = np.interp(edges, points[:, 0], points[:, 1])
    return tokens * float(np.trapezoid(flops, edges)) / (last - first)


def attention_s(compute: Compute, context_tokens: int, tokens: int) -> float:
    """Attention time, all layers: its FLOPs at the theoretical rate."""
    flops = attention_flops(compute, context_tokens, tokens)
    return flops * compute.attention_seconds_per_flop


def batch_times(compute: Compute, batch: Sequence[tuple[int, int]]) -> BatchTimes:
    """How long one engine computes a batch.

    Args:
        compute: how fast engines are.
        batch: (context tokens, tokens) of each request in it.
    """
    attending = sum(attention_flops(compute, *work) for work in batch)
    flops = attending + 2 * compute.active_parameters * sum(tokens for _, tokens in batch)
    gain = batch_gain(compute.batch_gain, batch_size(tokens for _, tokens in batch))
    whole_s = flops * compute.seconds_per_flop / gain
    attending_s = attending * compute.attention_seconds_per_flop
    return BatchTimes(attending_s, max(0.0, whole_s - attending_s))


class ComputeClock:
    """Compute time of one engine, back to back.

    A timer that wakes up late does not make what follows late: work begins when the work before
    it *should* have ended, or when what it needs was there, whichever is later.  Only the running
    loop's clock is read, so that virtual time can drive it unchanged.
    """

    def __init__(self) -> None:
        self.free_at_s = 0.0

    async def run(self, duration_s: float, ready_s: float) -> float:
        """Compute for `duration_s` from `ready_s` on, or when the engine is free.

        Args:
            duration_s: how long.
            ready_s: when all that is needed was there, of the loop's clock; may have passed.

        Returns:
            When it ended, of the loop's clock.
        """
        loop = asyncio.get_running_loop()
        self.free_at_s = max(self.free_at_s, ready_s) + duration_s
        while (wait_s := self.free_at_s - loop.time()) > 0:
            await asyncio.sleep(wait_s)
        return self.free_at_s
