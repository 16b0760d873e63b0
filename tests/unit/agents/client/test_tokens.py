"""Sessions of real tokens: names follow from ids, and whatever differs is named."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from agents.blocks.hashing import token_hashes
from agents.blocks.maker import Proof
from agents.client.tokens import TokenSessions
from agents.traces.agentic import agentic_trace
from agents.traces.session import Session, hits
from agents.transformer.config import Config
from agents.transformer.tokens import as_tokens

CONFIG = Config(
    layers=3, hidden=32, heads=4, kv_heads=2, head_dim=8, mlp=48, vocabulary=96, max_context=512
)


def sessions(seed: int = 1) -> TokenSessions:
    source = agentic_trace(
        "32k", seed, append_scale=0.02, generation_scale=0.1, max_context_tokens=300
    )
    return TokenSessions(source, CONFIG, seed)


def test_a_session_keeps_its_turns_and_names_blocks_by_their_tokens() -> None:
    source = agentic_trace(
        "32k", 1, append_scale=0.02, generation_scale=0.1, max_context_tokens=300
    )
    given, made = source.session(4), sessions()
    session = made.session(4)
    assert [t.prompt_tokens for t in session.turns] == [t.prompt_tokens for t in given.turns]
    assert hits(session) == hits(given)
    assert any(hits(session))
    for index, turn in enumerate(session.turns):
        prompt = as_tokens(made.prompt(session.id, index))
        assert len(prompt) == turn.prompt_tokens
        assert prompt.max() < CONFIG.vocabulary
        names = token_hashes(prompt, 64)[: turn.prompt_tokens // 64]
        assert turn.prompt_hashes.tolist() == names.tolist()


def test_the_same_seed_says_the_same_and_another_does_not() -> None:
    one, again, other = (sessions(seed).session(0) for seed in (1, 1, 2))
    assert one.turns[-1].hashes.tolist() == again.turns[-1].hashes.tolist()
    assert one.turns[-1].hashes[0] != other.turns[-1].hashes[0]
    assert sessions().session(1).turns[0].hashes[0] != one.turns[0].hashes[0]


def test_a_prompt_goes_on_where_the_answer_before_ended() -> None:
    made = sessions()
    session = made.session(0)
    whole = as_tokens(made.prompt(session.id, len(session.turns) - 1))
    for turn, proof in zip(session.turns, made._played[session.id].proofs, strict=True):
        answered = whole[turn.prompt_tokens : turn.context_tokens]
        assert answered.tolist() == as_tokens(proof.tokens).tolist()[: len(answered)]


def test_what_differs_is_named() -> None:
    made = sessions()
    session = made.session(0)
    assert session.turns[1].generate_tokens > 1
    played = made._played[session.id]
    right = msgspec.structs.replace(played.proofs[1], hit_kv=played.reference.hit_kv(64))

    def wrong(**changes: object) -> str:
        return made.wrong(session.id, 1, 64, msgspec.structs.replace(right, **changes))

    assert wrong() == ""
    assert len(played.proofs) == 2  # no turn is played before it is asked for
    ids = as_tokens(right.tokens).copy()
    ids[1] ^= 1
    assert wrong(tokens=ids.tobytes()) == "the reference has other tokens from the 2. on"
    assert wrong(tokens=right.tokens[:-4]).endswith(f"tokens from the {len(ids)}. on")
    assert wrong(logits=right.logits ^ 1) == "the reference has other scores"
    assert "layer 2 of the KV that decode read" in wrong(kv=[*right.kv[:2], 0])
    assert "layer 0 of the KV that prefill loaded" in wrong(hit_kv=[0, *right.hit_kv[1:]])
    assert "prefill loaded" in made.wrong(session.id, 1, 0, right)
    assert made.wrong(session.id, 1, 64, Proof()).count(",") == 3


def test_sessions_that_do_more_than_append_are_refused() -> None:
    class Branching:
        def session(self, number: int) -> Session:
            session = agentic_trace("32k", 1).session(number)
            return Session(session.id, session.turns, append_only=False)

    with pytest.raises(ValueError, match="more than append"):
        TokenSessions(Branching(), CONFIG, 1).session(0)


def test_a_block_is_named_by_all_tokens_up_to_its_end() -> None:
    ids = np.arange(200, dtype=np.uint32)
    names = token_hashes(ids, 64)
    assert len(names) == 4
    assert token_hashes(ids[:128], 64).tolist() == names[:2].tolist()
    changed = ids.copy()
    changed[70] += 1
    assert (token_hashes(changed, 64) == names).tolist() == [True, False, False, False]
    assert len(token_hashes(ids[:0], 64)) == 0
