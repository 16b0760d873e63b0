"""The generator against the published table of DualPath's three agent traces (section 7)."""

from __future__ import annotations

import numpy as np
import pytest

from agents.client.replay import ClosedLoop
from agents.traces.agentic import TRACES, agentic_trace
from agents.traces.load import ClosedTrace
from agents.traces.session import BLOCK_TOKENS, Session, hit_blocks, hits
from testbed.errors import ScenarioError

# turns, append, generation, total, mean context
TABLE = {
    "32k": (60, 608, 148, 28_639, 17_183),
    "48k": (106, 474, 172, 42_607, 25_120),
    "64k": (157, 429, 176, 55_958, 32_721),
}


def contexts_before(session: Session) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array([0, *(turn.context_tokens for turn in session.turns[:-1])])


def row(session: Session) -> tuple[float, ...]:
    before = contexts_before(session)
    prompts = np.array([turn.prompt_tokens for turn in session.turns])
    return (
        len(session.turns),
        float((prompts - before).mean()),
        float(np.mean([turn.generate_tokens for turn in session.turns])),
        session.turns[-1].context_tokens,
        float(before.mean()),
    )


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("seed", [1, 2, 77])
def test_five_hundred_trajectories_have_the_means_of_the_table(name: str, seed: int) -> None:
    trace = agentic_trace(name, seed)
    means = np.mean([row(trace.session(number)) for number in range(500)], axis=0)
    assert means == pytest.approx(TABLE[name], rel=0.02)


def test_hit_rate_at_64k() -> None:
    trace = agentic_trace("64k", 1)
    sessions = [trace.session(number) for number in range(500)]
    # An agent of a warm start draws a trajectory, then a turn of it.
    hit = np.mean([np.mean(hits(session)) * BLOCK_TOKENS for session in sessions])
    prompt = np.mean([np.mean([t.prompt_tokens for t in s.turns]) for s in sessions])
    assert hit / prompt == pytest.approx(0.987, abs=0.003)


@pytest.mark.parametrize("seed", [1, 2])
def test_hit_rate_at_64k_as_it_is_run(seed: int) -> None:
    """Whole blocks in storage, thirty agents that all advance alike, forty turns of each."""
    loop = ClosedLoop(ClosedTrace(agentic_trace("64k", seed)), 30, seed, "warm")
    stored = {name for prefix in loop.prefixes() for name in prefix.tolist()}
    loop.start(0.0)
    hit = prompt = 0
    for step in range(40):
        for s in loop.due(float(step)):
            hit += hit_blocks(s.turn, stored) * BLOCK_TOKENS
            prompt += s.turn.prompt_tokens
            stored.update(s.turn.stored_hashes.tolist())
            loop.completed(s.request, step + 1.0)
    assert hit / prompt == pytest.approx(0.987, abs=0.003)


def test_hit_rates_by_token_and_by_block_over_trajectories_and_over_turns() -> None:
    """98.7 % is the published rate: tokens, means over trajectories.

    Whole blocks cost a tenth of a point.  Over turns, as in sessions that arrive and are played
    whole, trajectories of many short turns weigh more: 99.1 %.
    """
    sessions = [agentic_trace("64k", 1).session(n) for n in range(300)]
    turns = np.array([len(session.turns) for session in sessions])
    tokens = np.array([contexts_before(session).mean() for session in sessions])
    blocks = np.array([np.mean(hits(session)) * BLOCK_TOKENS for session in sessions])
    prompts = np.array([np.mean([t.prompt_tokens for t in s.turns]) for s in sessions])
    assert tokens.sum() / prompts.sum() == pytest.approx(0.987, abs=0.0005)
    assert blocks.sum() / prompts.sum() == pytest.approx(0.986, abs=0.0005)
    assert (turns * blocks).sum() / (turns * prompts).sum() == pytest.approx(0.9914, abs=0.0005)


def test_no_context_passes_the_length_that_names_the_trace() -> None:
    for name, trace in TRACES.items():
        source = agentic_trace(name, 3)
        longest = max(source.session(n).turns[-1].context_tokens for n in range(200))
        assert 0.97 * trace.max_tokens < longest <= trace.max_tokens


def test_trajectories_differ() -> None:
    turns = [len(agentic_trace("64k", 1).session(n).turns) for n in range(200)]
    assert np.std(turns) > 0.5 * np.mean(turns)
    session = agentic_trace("64k", 1).session(0)
    generated = [turn.generate_tokens for turn in session.turns]
    assert np.std(generated) > 0.4 * np.mean(generated)


def test_contexts_grow_and_share_their_hashes() -> None:
    session = agentic_trace("32k", 1).session(4)
    assert session.append_only
    for before, after in zip(session.turns, session.turns[1:], strict=False):
        assert after.prompt_tokens > before.context_tokens
        shared = len(before.hashes)
        assert (after.hashes[:shared] == before.hashes).all()
    # Computed from the flag, and by looking every block up: the same.
    looked_up = Session(session.id, session.turns, append_only=False)
    assert hits(session) == hits(looked_up)


def test_a_session_depends_on_seed_and_number_alone() -> None:
    trace = agentic_trace("48k", 9)
    late = trace.session(7)
    for number in range(7):
        trace.session(number)
    again = agentic_trace("48k", 9).session(7)
    assert [t.prompt_tokens for t in late.turns] == [t.prompt_tokens for t in again.turns]
    assert (late.turns[-1].hashes == again.turns[-1].hashes).all()
    other = agentic_trace("48k", 10).session(7)
    assert [t.prompt_tokens for t in late.turns] != [t.prompt_tokens for t in other.turns]


def test_no_block_is_in_two_sessions() -> None:
    trace = agentic_trace("32k", 1)
    names = np.concatenate([trace.session(number).turns[-1].hashes for number in range(50)])
    assert len(np.unique(names)) == len(names)


def test_scales_multiply_lengths() -> None:
    plain, scaled = (
        row(agentic_trace("64k", 1, append_scale=append, generation_scale=generate).session(3))
        for append, generate in ((1, 1), (3, 0.5))
    )
    assert scaled[0] == plain[0]
    assert scaled[1] == pytest.approx(3 * plain[1], rel=0.01)
    assert scaled[2] == pytest.approx(0.5 * plain[2], rel=0.01)


def test_a_limit_cuts_before_the_turn_that_passes_it() -> None:
    whole = agentic_trace("64k", 1).session(5)
    cut = agentic_trace("64k", 1, max_context_tokens=30_000).session(5)
    kept = len(cut.turns)
    assert cut.turns[-1].context_tokens <= 30_000 < whole.turns[kept].context_tokens
    assert cut.turns[-1].prompt_tokens == whole.turns[kept - 1].prompt_tokens
    with pytest.raises(ScenarioError, match=r"opens with .* and the longest context has 64"):
        agentic_trace("64k", 1, max_context_tokens=64).session(0)


def test_scales_must_be_positive() -> None:
    with pytest.raises(ValueError, match="scales"):
        agentic_trace("64k", 1, append_scale=0)


def test_agents_think_before_every_turn_but_the_first() -> None:
    thinking = agentic_trace("32k", 1, think_s=7.0).session(0)
    assert [turn.think_s for turn in thinking.turns] == [0.0] + [7.0] * (len(thinking.turns) - 1)
    at_once = agentic_trace("32k", 1).session(0)
    assert [turn.prompt_tokens for turn in at_once.turns] == [
        turn.prompt_tokens for turn in thinking.turns
    ]
