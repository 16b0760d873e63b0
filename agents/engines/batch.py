"""Which requests a prefill engine takes into its next iteration: FIFO, under a compute quota.

Requests are taken in order while the predicted attention time of all of them stays within the
quota; the one that overflows is cut, by binary search on its tokens, and what is left of it is the
first of the next iteration (DualPath, section 6: intra-engine batching).  The quota is exceeded by
nothing but one unit of tokens that is all there is in a batch: else it would never be computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

AttentionTime = Callable[[int, int], float]
"""(context tokens, tokens) -> seconds; more tokens never take less time."""


class Work(NamedTuple):
    """What is left to compute of a request.

    Args:
        context_tokens: before the first of them: hit tokens, and what earlier chunks computed.
        tokens: 1 or more.
    """

    context_tokens: int
    tokens: int


def form_batch(
    waiting: Sequence[Work],
    *,
    quota_s: float,
    unit_tokens: int,
    attention_s: AttentionTime,
    admit: Callable[[int], bool],
) -> list[int]:
    """How many tokens of each of the first requests one iteration computes.

    Args:
        waiting: the queue, first come first.
        quota_s: attention time that an iteration may take.
        unit_tokens: a request is cut at multiples of it.
        attention_s: predicts attention time.
        admit: has HBM been found for this one (by number)?  Asked once for each that would take
            part, in order; the first for which there is none ends the batch.

    Returns:
        Tokens, in order; all but the last are whole requests.
    """
    batch: list[int] = []
    left_s = quota_s
    for number, work in enumerate(waiting):
        tokens = fitting_tokens(work, left_s, unit_tokens, attention_s)
        if not tokens and not batch:
            tokens = min(unit_tokens, work.tokens)
        if not tokens or not admit(number):
            break
        batch.append(tokens)
        left_s -= attention_s(work.context_tokens, tokens)
        if tokens < work.tokens:
            break
    return batch


def fitting_tokens(work: Work, quota_s: float, unit_tokens: int, attention_s: AttentionTime) -> int:
    """The most tokens of a request, in whole units or all, whose attention fits the quota."""
    if attention_s(work.context_tokens, work.tokens) <= quota_s:
        return work.tokens
    fits, exceeds = 0, -(-work.tokens // unit_tokens)
    while exceeds - fits > 1:
        middle = (fits + exceeds) // 2
        if attention_s(work.context_tokens, middle * unit_tokens) <= quota_s:
            fits = middle
        else:
            exceeds = middle
    return fits * unit_tokens
