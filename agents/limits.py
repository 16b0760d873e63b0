"""alpha and beta of the prefill scheduler, from formulae: token counts that no scale changes.

alpha is what a node's storage NIC reads in 3 s, beta what a prefill engine processes in 5 s, whole
prompts, hit tokens included (DualPath, section 6.1, where both are profiled).
"""

from __future__ import annotations

from typing import NamedTuple

from agents.caps import Shape
from agents.prediction import TurnTimes

ALPHA_S, BETA_S = 3.0, 5.0
"""Of real time."""

_CROSSINGS = 2  # of a hit token over the prefill CNIC's read side: into HBM, and back to decode


class Limits(NamedTuple):
    """Both, in tokens."""

    alpha_tokens: int
    beta_tokens: int


def formula_limits(
    shape: Shape, times: TurnTimes, *, stretch: float, token_bytes: float, prompt_tokens: float
) -> Limits:
    """The limits of a cluster.

    An engine that does not compute is as fast as its CNIC: it processes what that can load and
    send on, with every token read from memory twice.

    Args:
        shape: of the cluster, at emulated rates.
        times: of the mean turn, emulated.
        stretch: emulated time / real time.
        token_bytes: KV of a token, emulated.
        prompt_tokens: of the mean turn.
    """
    alpha = ALPHA_S * stretch * shape.snic_bps / 8 / token_bytes
    if times.prefill_s > 0:
        beta = BETA_S * stretch / times.prefill_s * prompt_tokens
    else:
        beta = BETA_S * stretch * shape.cnic_bps / 8 / token_bytes / _CROSSINGS
    return Limits(max(1, round(alpha)), max(1, round(beta)))
