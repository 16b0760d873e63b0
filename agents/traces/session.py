"""The one form of a trace: agents' trajectories as turns over prefix-hashed KV blocks.

Every reader and the generator produce `Session`s; replay, warm start and prediction know
nothing else.  A block is 64 tokens, named by the hash of everything up to its end, so that two
contexts share KV exactly as far as their hashes agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import takewhile

import numpy as np

from agents.blocks.hashing import Hashes

BLOCK_TOKENS = 64


@dataclass(frozen=True, eq=False, slots=True)
class Turn:
    """One request of an agent.

    Args:
        prompt_tokens: the whole prompt: context so far, and what is appended.
        generate_tokens: tokens to generate, exactly; at least one, for prefill yields one.
        hashes: of every block of the context after the turn, the last one perhaps not full.
            The block in which the prompt ends has the hash that it will have when it is full.
        think_s: pause between the completion of the turn before and this one.
        release_s: when the turn is submitted whatever happened before; None in a closed loop.

    Raises:
        ValueError: the numbers contradict each other.
    """

    prompt_tokens: int
    generate_tokens: int
    hashes: Hashes
    think_s: float = 0.0
    release_s: float | None = None

    def __post_init__(self) -> None:
        if self.prompt_tokens < 1 or self.generate_tokens < 1:
            raise ValueError(
                f"a turn of {self.prompt_tokens} prompt and {self.generate_tokens} generated tokens"
            )
        blocks = -(-self.context_tokens // BLOCK_TOKENS)
        if self.hashes.dtype != np.uint64 or self.hashes.shape != (blocks,):
            raise ValueError(
                f"{self.context_tokens} tokens are {blocks} blocks; "
                f"given are {self.hashes.shape} hashes of type {self.hashes.dtype}"
            )

    @property
    def context_tokens(self) -> int:
        """Tokens of the context after the turn."""
        return self.prompt_tokens + self.generate_tokens

    @property
    def prompt_hashes(self) -> Hashes:
        """Hashes of the blocks that the prompt fills."""
        return self.hashes[: self.prompt_tokens // BLOCK_TOKENS]

    @property
    def stored_hashes(self) -> Hashes:
        """Hashes of the blocks that are full after the turn: what storage holds from then on."""
        return self.hashes[: self.context_tokens // BLOCK_TOKENS]

    @property
    def candidate_blocks(self) -> int:
        """Blocks that may be read rather than computed: at least one token must be computed."""
        return (self.prompt_tokens - 1) // BLOCK_TOKENS


@dataclass(frozen=True, eq=False, slots=True)
class Session:
    """The trajectory of one agent.

    Args:
        id: unique in a run.
        turns: in their order.
        append_only: every context begins with the whole context before it.  True of generated
            traces; real agents also rewrite, branch and compact their contexts.
        found: blocks that storage holds before the first turn, as prefixes from their first block
            on; for sessions of which not every turn is played.
    """

    id: str
    turns: Sequence[Turn]
    append_only: bool = False
    found: Sequence[Hashes] = ()


def hit_blocks(turn: Turn, stored: AbstractSet[int]) -> int:
    """Leading blocks of the prompt that are stored: what is read instead of computed."""
    candidates = turn.hashes[: turn.candidate_blocks].tolist()
    return sum(1 for _ in takewhile(stored.__contains__, candidates))


def hits(session: Session) -> list[int]:
    """Hit blocks of each turn, when storage keeps all of this session and nothing else."""
    if session.append_only:
        before = [0, *(len(turn.stored_hashes) for turn in session.turns)]
        return [min(n, t.candidate_blocks) for n, t in zip(before, session.turns, strict=False)]
    stored: set[int] = set().union(*(prefix.tolist() for prefix in session.found))
    found = []
    for turn in session.turns:
        found.append(hit_blocks(turn, stored))
        stored.update(turn.stored_hashes.tolist())
    return found


def stored_before(session: Session, turn: int) -> list[Hashes]:
    """Blocks of the turns before `turn` that it or a later one reads.

    With these in storage every turn from `turn` on has the hits that it would have had if the
    session had been played from its beginning.

    Returns:
        Prefixes, each from its first block on, in the order of use.  Where contexts branch, what
        the branches share is in each of them; none is the beginning of another.
    """
    earlier, later = session.turns[:turn], session.turns[turn:]
    if not earlier or not later:
        return []
    if session.append_only:
        stored = earlier[-1].stored_hashes
        return [stored] if len(stored) else []
    wanted = np.unique(np.concatenate([t.hashes[: t.candidate_blocks] for t in later]))
    kept = [_beginning_in(wanted, t.stored_hashes) for t in earlier]
    needed: list[int] = []
    covered: set[int] = set()
    for number in sorted(range(len(kept)), key=lambda number: -len(kept[number])):
        prefix = kept[number]
        if len(prefix) and int(prefix[-1]) not in covered:
            covered.update(prefix.tolist())
            needed.append(number)
    return [kept[number] for number in sorted(needed)]


def _beginning_in(wanted: Hashes, hashes: Hashes) -> Hashes:
    """The leading part of `hashes` that is in `wanted`, which is sorted."""
    before, after = np.searchsorted(wanted, hashes), np.searchsorted(wanted, hashes, "right")
    missing = np.flatnonzero(before == after)
    return hashes[: missing[0]] if len(missing) else hashes
