"""The one request that is served alone, before the load: see `agents.idle_overhead`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agents.blocks.hashing import Hashes, stream_hashes, stream_id
from agents.client.playing import Submission
from agents.traces.session import Turn

IDLE_REQUEST = (1 << 24) - 1  # replays count from 0
IDLE_AGENT = -1
_GENERATED_TOKENS = 2  # decoding is timed apart


def idle_submission(prefixes: Sequence[Hashes], block_tokens: int, now_s: float) -> Submission:
    """A request that hits a prefix of middling length, and appends one block to it.

    Args:
        prefixes: that storage holds.
        block_tokens: in a block.
        now_s: when it is due.
    """
    prefix = sorted(prefixes, key=len)[len(prefixes) // 2]
    own = stream_hashes(stream_id("idle"), 2)  # the appended block, and the generated tokens'
    tokens = (len(prefix) + 1) * block_tokens
    turn = Turn(tokens, _GENERATED_TOKENS, np.concatenate([prefix, own]))
    return Submission(IDLE_REQUEST, IDLE_AGENT, "idle", 0, turn, now_s)
