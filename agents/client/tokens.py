"""Sessions of real tokens: what agents say is seeded, what they are answered the reference says.

A session has the turns of another source's; its block hashes are those of its tokens.  The
reference plays a turn when it is about to be submitted: then it is known which tokens it generates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from agents.blocks.hashing import token_hashes
from agents.blocks.maker import Proof
from agents.traces.load import SessionSource
from agents.traces.session import BLOCK_TOKENS, Session, Turn
from agents.transformer.config import Config
from agents.transformer.reference import Reference
from agents.transformer.tokens import as_tokens

_STREAM = 3  # of the seed: what agents append


class PlayedTurns(Sequence[Turn]):
    """The turns of a session, each played by the reference when it is first asked for.

    The last block of a turn, if it is not full, is named by what it holds then: nobody can find it
    under that name, for only full blocks are stored.

    Args:
        given: how many tokens each turn appends and generates.
        config: of the transformer.
        rng: draws what is appended.
    """

    def __init__(self, given: Sequence[Turn], config: Config, rng: np.random.Generator) -> None:
        self._given, self._config, self._rng = given, config, rng
        capacity = given[-1].context_tokens
        self._context = np.empty(capacity, np.uint32)
        self._played: list[Turn] = []
        self.reference = Reference(config, capacity)
        self.proofs: list[Proof] = []

    def __len__(self) -> int:
        return len(self._given)

    @overload
    def __getitem__(self, index: int) -> Turn: ...

    @overload
    def __getitem__(self, index: slice) -> list[Turn]: ...

    def __getitem__(self, index: int | slice) -> Turn | list[Turn]:
        """A turn; all before it are played, too."""
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        while len(self._played) <= index:
            self._play(self._given[len(self._played)])
        return self._played[index]

    def _play(self, given: Turn) -> None:
        before = self._played[-1].context_tokens if self._played else 0
        prompt, after = given.prompt_tokens, given.context_tokens
        appended = self._rng.integers(0, self._config.vocabulary, prompt - before, dtype=np.uint32)
        proof = self.reference.turn(appended, given.generate_tokens)
        self._context[before:prompt] = appended
        self._context[prompt:after] = as_tokens(proof.tokens)
        hashes = token_hashes(self._context[:after], BLOCK_TOKENS)
        self.proofs.append(proof)
        self._played.append(
            Turn(prompt, given.generate_tokens, hashes, given.think_s, given.release_s)
        )

    def prompt(self, turn: int) -> NDArray[np.uint32]:
        """The ids of a turn's prompt."""
        return self._context[: self[turn].prompt_tokens]


class TokenSessions:
    """Sessions of real tokens.

    Args:
        source: of append-only sessions: how many tokens each turn appends and generates.
        config: of the transformer.
        seed: of what agents append.
    """

    def __init__(self, source: SessionSource, config: Config, seed: int) -> None:
        self._source, self._config, self._seed = source, config, seed
        self._played: dict[str, PlayedTurns] = {}

    def session(self, number: int) -> Session:
        """Session `number` of the source, with hashes of real tokens."""
        session = self._source.session(number)
        if not session.append_only:
            raise ValueError(f"session {session.id} does more than append")
        rng = np.random.default_rng((self._seed, _STREAM, number))
        turns = PlayedTurns(session.turns, self._config, rng)
        self._played[session.id] = turns
        return Session(session.id, turns, append_only=True)

    def prompt(self, session: str, turn: int) -> bytes:
        """The ids of a turn's prompt, little-endian uint32."""
        return self._played[session].prompt(turn).astype("<u4").tobytes()

    def wrong(self, session: str, turn: int, hit_tokens: int, proof: Proof) -> str:
        """What differs from what the reference finds, in a few words; empty if nothing does.

        Args:
            session, turn: which one.
            hit_tokens: that were loaded.
            proof: of the engines.
        """
        played = self._played[session]
        right = played.proofs[turn]
        found = []
        layer = _first_difference(proof.hit_kv, played.reference.hit_kv(hit_tokens))
        if layer is not None:
            found.append(f"layer {layer} of the KV that prefill loaded")
        layer = _first_difference(proof.kv, right.kv)
        if layer is not None:
            found.append(f"layer {layer} of the KV that decode read")
        if proof.logits != right.logits:
            found.append("scores")
        at = _first_difference(as_tokens(proof.tokens).tolist(), as_tokens(right.tokens).tolist())
        if at is not None:
            found.append(f"tokens from the {at + 1}. on")
        return f"the reference has other {', '.join(found)}" if found else ""

    def forget(self, session: str) -> None:
        """A session that has come to its end."""
        del self._played[session]


def _first_difference(found: list[int], right: list[int]) -> int | None:
    """Where two lists differ first; a missing element differs."""
    for index, (one, two) in enumerate(zip(found, right, strict=False)):
        if one != two:
            return index
    return None if len(found) == len(right) else min(len(found), len(right))
