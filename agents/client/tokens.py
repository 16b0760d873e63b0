"""Sessions of real tokens: what agents say is seeded, what they are answered the reference says.

A session has the turns of another source's; its block hashes are those of its tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True)
class _Played:
    """A session as the reference has played it.

    Args:
        tokens: of the final context.
        proofs: what is right for each turn.
        reference: knows what is right for hits.
    """

    tokens: NDArray[np.uint32]
    proofs: list[Proof]
    reference: Reference


class TokenSessions:
    """Sessions whose turns the reference has played before anybody else.

    Args:
        source: of append-only sessions: how many tokens each turn appends and generates.
        config: of the transformer.
        seed: of what agents append.
    """

    def __init__(self, source: SessionSource, config: Config, seed: int) -> None:
        self._source, self._config, self._seed = source, config, seed
        self._played: dict[str, _Played] = {}

    def session(self, number: int) -> Session:
        """Session `number` of the source, with hashes of real tokens."""
        session = self._source.session(number)
        if not session.append_only:
            raise ValueError(f"session {session.id} does more than append")
        played = self._play(session, number)
        self._played[session.id] = played
        hashes = token_hashes(played.tokens, BLOCK_TOKENS)
        turns = [
            Turn(
                turn.prompt_tokens,
                turn.generate_tokens,
                hashes[: len(turn.hashes)],
                turn.think_s,
                turn.release_s,
            )
            for turn in session.turns
        ]
        return Session(session.id, turns, append_only=True)

    def _play(self, session: Session, number: int) -> _Played:
        rng = np.random.default_rng((self._seed, _STREAM, number))
        reference = Reference(self._config, session.turns[-1].context_tokens)
        context: list[NDArray[np.uint32]] = []
        proofs = []
        before = 0
        for turn in session.turns:
            count = turn.prompt_tokens - before
            appended = rng.integers(0, self._config.vocabulary, count, dtype=np.uint32)
            proof = reference.turn(appended, turn.generate_tokens)
            context += [appended, as_tokens(proof.tokens)]
            proofs.append(proof)
            before = turn.context_tokens
        return _Played(np.concatenate(context), proofs, reference)

    def prompt(self, session: str, turn: Turn) -> bytes:
        """The ids of a turn's prompt, little-endian uint32."""
        return self._played[session].tokens[: turn.prompt_tokens].astype("<u4").tobytes()

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
