"""The compact form of recorded sessions: hits as they were recorded, whatever the order."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from agents.traces.recorded import RecordedSessions
from agents.traces.session import BLOCK_TOKENS, Session, hits
from agents.traces.sessions_compact import read_compact
from testbed.errors import ScenarioError


def turn(t: float, prompt: int, out: int, hit: int, h: list[list[int]], **more: Any) -> Any:
    return {"t": t, "in": prompt, "out": out, "hit": hit, "sub": 0, "h": h, **more}


def session(name: str, turns: list[Any], **more: Any) -> Any:
    return {
        "id": name,
        "block_size": 64,
        "tool_tokens": 1,
        "system_tokens": 1,
        "turns": turns,
    } | more


GROWS = session(
    "grows",
    [
        turn(0, 200, 100, 0, [[1, 3]], api=2.0, think=0.0),
        # Branches after two blocks, then comes back to what it knows and more.
        turn(9, 330, 0, 128, [[1, 2], [8, 3]], api=1.0, think=5.0),
        turn(20, 640, 50, 192, [[1, 3], [4, 7]], api=None, think=None),
        turn(50, 700, 50, 640, [[1, 10]], api=4.0, think=-1.0),
    ],
)
SHORT = session("short", [turn(0, 100, 7, 0, [[1, 1]], api=1.0, think=0.0)])


def write(path: Path, *lines: Any) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def supply(path: Path, seed: int, **more: Any) -> RecordedSessions:
    return RecordedSessions(read_compact(path), seed, source=str(path), **more)


def found_hits(played: Session) -> list[int]:
    """Tokens that each turn finds stored by those before it."""
    return [blocks * BLOCK_TOKENS for blocks in hits(played)]


def recorded_hits(recorded: Any) -> list[int]:
    """What the recorder saw of a line."""
    return [turn["hit"] for turn in recorded["turns"]]


def test_prefix_matching_gives_the_recorded_hits(tmp_path: Path) -> None:
    trace = supply(write(tmp_path / "t.jsonl", GROWS, SHORT), seed=1)
    assert len(trace) == 2
    found = {(played := trace.session(n)).id: found_hits(played) for n in range(2)}
    assert found == {"grows-0": recorded_hits(GROWS), "short-0": recorded_hits(SHORT)}


def test_equal_ids_of_two_sessions_are_two_blocks(tmp_path: Path) -> None:
    trace = supply(write(tmp_path / "t.jsonl", GROWS, SHORT), seed=1)
    one, two = (set(trace.session(n).turns[0].hashes.tolist()) for n in range(2))
    assert not one & two


def test_a_session_that_comes_again_shares_nothing(tmp_path: Path) -> None:
    trace = supply(write(tmp_path / "t.jsonl", SHORT), seed=1)
    first, second = trace.session(0), trace.session(1)
    assert (first.id, second.id) == ("short-0", "short-1")
    assert not set(first.turns[0].hashes.tolist()) & set(second.turns[0].hashes.tolist())


def test_each_pass_plays_every_session_in_a_seeded_order(tmp_path: Path) -> None:
    lines = [{**SHORT, "id": str(number)} for number in range(9)]
    path = write(tmp_path / "t.jsonl", *lines)
    orders = [
        [supply(path, seed).session(lap * 9 + n).id.split("-")[0] for n in range(9)]
        for seed, lap in ((1, 0), (1, 0), (1, 1), (2, 0))
    ]
    assert all(sorted(order) == sorted(line["id"] for line in lines) for order in orders)
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert orders[0] != orders[3]


def test_think_times(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", GROWS)

    def thinks(**more: Any) -> list[float]:
        return [turn.think_s for turn in supply(path, 1, **more).session(0).turns]

    assert thinks() == [0, 0, 0, 0]
    # The third is not recorded: what the starts leave after the answer, 20 - 9 - 1.
    assert thinks(think_factor=2) == [0, 10, 20, 0]
    assert thinks(think_factor=2, think_limit_s=12) == [0, 10, 12, 0]


def test_a_turn_generates_at_least_one_token(tmp_path: Path) -> None:
    played = supply(write(tmp_path / "t.jsonl", GROWS), 1).session(0)
    assert played.turns[1].generate_tokens == 1


def test_sessions_end_before_the_turn_that_is_too_long(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", GROWS, SHORT)
    trace = supply(path, 1, max_context_tokens=331)
    kept = {trace.session(n).id: len(trace.session(n).turns) for n in range(len(trace))}
    assert kept == {"grows-0": 2, "short-0": 1}
    assert trace.turns_cut == 2
    assert len(supply(path, 1, max_context_tokens=300)) == 2  # 200 tokens, and 100 generated
    assert len(supply(path, 1, max_context_tokens=299)) == 1
    assert len(supply(path, 1, max_context_tokens=107)) == 1
    with pytest.raises(ScenarioError, match="more than 64 tokens"):
        supply(path, 1, max_context_tokens=64)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({**SHORT, "block_size": 16}, "blocks of 16 tokens"),
        ({**SHORT, "turns": []}, "has no turns"),
        (session("x", [turn(0, 200, 1, 0, [[1, 2]])]), "turn 1 names 2 blocks for 200 tokens"),
        (session("x", [turn(0, 0, 1, 0, [])]), r">= 1.*turns"),
        (session("x", [turn(0, 64, 1, 0, [[1, -1]])]), r">= 0.*h"),
        ({"id": "x"}, "block_size"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: Any, message: str) -> None:
    path = write(tmp_path / "t.jsonl", GROWS, line)
    with pytest.raises(ScenarioError, match=r"t\.jsonl:2: .*" + message):
        supply(path, 1)


def test_every_recorded_hit_is_reproduced(recorded_traces: Path) -> None:
    path = recorded_traces / "agentic_sessions.jsonl.gz"
    with gzip.open(path) as lines:
        recorded = {line["id"]: recorded_hits(line) for line in map(json.loads, lines)}
    trace = supply(path, seed=1)
    turns = 0
    for number in range(60):
        played = trace.session(number)
        assert found_hits(played) == recorded[played.id.removesuffix("-0")]
        turns += len(played.turns)
    assert turns > 2000
