"""Fusing layers: fewer and larger collectives, for as many messages as this machine can carry.

A collective of n layers has n times the bytes of a layer's and is due n times more rarely.  So the
bytes per second, the model lane's share of the line, and the ratio of a burst to the gap behind it
all stay; what changes is how long a burst is.
"""

from __future__ import annotations

import math
from typing import NamedTuple


class Fused(NamedTuple):
    """How the collectives of one role are fused.

    Args:
        layers: that share a collective; more than the model has when whole passes are fused.
        messages_per_s: of all engines of the role, when all are always busy.
    """

    layers: int
    messages_per_s: float


def fuse(
    layers: int,
    pass_s: float,
    *,
    engines: int,
    messages: int,
    most_messages_per_s: float,
) -> Fused:
    """The least fusing that keeps to the budget.

    Args:
        layers: of the model, with collectives.
        pass_s: emulated seconds of one pass through the model, at least.
        engines: of the role; each starts its own collectives.
        messages: transfers of one collective.
        most_messages_per_s: the budget.

    Raises:
        ValueError: a pass takes no time, so that nothing bounds the messages.
    """
    if pass_s <= 0:
        raise ValueError("a pass through the model takes no time")
    if layers < 1 or messages < 1:
        return Fused(1, 0.0)
    unfused_per_s = engines * messages * layers / pass_s
    fused = max(1, math.ceil(unfused_per_s / most_messages_per_s))
    return Fused(fused, unfused_per_s / fused)
