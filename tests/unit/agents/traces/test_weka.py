"""WEKA's session files: directories, files and lines; sub-agents; what is wrong is named."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from agents.traces.load import ClosedTrace, TraceSpec, load_trace
from agents.traces.recorded import RecordedSessions
from agents.traces.session import hits
from agents.traces.weka import read_weka
from testbed.errors import ScenarioError


def request(t: float, prompt: int, out: int, ids: list[int], **more: Any) -> dict[str, Any]:
    """A request; what follows `ids` are other keys of the file."""
    return {"t": t, "type": "n", "model": "m", "in": prompt, "out": out, "hash_ids": ids} | more


def session(name: str, *requests: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "id": name,
        "models": ["m"],
        "block_size": 64,
        "hash_id_scope": "local",
        "tool_tokens": 100,
        "system_tokens": 20,
        "requests": list(requests),
    } | more


GROWS = session(
    "grows",
    request(0.0, 200, 10, [1, 2, 3], api_time=2.0, think_time=0.0),
    # A branch after two blocks, then back to what was seen and on.
    request(9.0, 330, 0, [1, 2, 8, 9, 10], api_time=1.0, think_time=5.0),
    request(20.0, 450, 5, [1, 2, 3, 4, 5, 6, 7], stop="end_turn"),
)
SUBAGENT = {
    "t": 40.0,
    "type": "subagent",
    "agent_id": "agent_001",
    "duration_ms": 30_000,
    "tool_tokens": 10,
    "requests": [
        request(0.0, 130, 4, [50, 51], api_time=3.0, think_time=0.0),
        request(9.0, 200, 4, [50, 51, 52], api_time=3.0, think_time=6.0),
    ],
}
PARENT = session(
    "parent",
    request(0.0, 64, 4, [1], api_time=5.0, think_time=0.0),
    SUBAGENT,
    request(50.0, 128, 4, [1, 2], api_time=1.0, think_time=45.0),
    request(60.0, 200, 4, [1, 2, 3], api_time=1.0, think_time=9.0),
)


def directory(place: Path, *sessions: dict[str, Any]) -> Path:
    place.mkdir(exist_ok=True)
    for one in sessions:
        (place / f"{one['id']}.json").write_text(json.dumps(one))
    return place


def supply(path: Path, **more: Any) -> RecordedSessions:
    return RecordedSessions(read_weka(path), 1, source=str(path), **more)


def test_a_directory_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    path = directory(tmp_path / "traces", PARENT, GROWS)
    (path / "notes.txt").write_text("not a session")
    assert [one.id for one in read_weka(path)] == ["grows", "parent"]


@pytest.mark.parametrize("name", ["one.json", "all.jsonl", "all.jsonl.gz"])
def test_one_file_or_lines_hold_the_same_sessions(tmp_path: Path, name: str) -> None:
    text = json.dumps(GROWS).encode()
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    assert list(read_weka(tmp_path / name)) == list(
        read_weka(directory(tmp_path / "traces", GROWS))
    )


def test_ids_become_runs_and_hits(tmp_path: Path) -> None:
    path = directory(tmp_path / "traces", GROWS)
    (recorded,) = read_weka(path)
    assert [turn.blocks for turn in recorded.turns] == [[(1, 3)], [(1, 2), (8, 3)], [(1, 7)]]
    assert hits(supply(path).session(0)) == [0, 2, 3]


def test_a_turn_generates_at_least_one_token(tmp_path: Path) -> None:
    played = supply(directory(tmp_path / "traces", GROWS)).session(0)
    assert [turn.generate_tokens for turn in played.turns] == [10, 1, 5]
    assert [turn.prompt_tokens for turn in played.turns] == [200, 330, 450]


def test_pauses_are_those_recorded_or_what_the_starts_leave(tmp_path: Path) -> None:
    played = supply(directory(tmp_path / "traces", GROWS), think_factor=2.0).session(0)
    assert [turn.think_s for turn in played.turns] == [0.0, 10.0, 20.0]


def test_a_subagent_is_played_where_it_stands(tmp_path: Path) -> None:
    (recorded,) = read_weka(directory(tmp_path / "traces", PARENT))
    assert [turn.prompt_tokens for turn in recorded.turns] == [64, 130, 200, 128, 200]
    # The parent's pause of 45 s holds the 30 s of its sub-agent; the next is its own again.
    assert [turn.think_s for turn in recorded.turns] == [0.0, 0.0, 6.0, 15.0, 9.0]
    # Hits are found across them: ids are local to the session, not to the agent.
    assert hits(supply(tmp_path / "traces").session(0)) == [0, 0, 2, 1, 2]


def test_a_subagent_without_a_duration_took_as_long_as_its_requests(tmp_path: Path) -> None:
    bare = {key: value for key, value in SUBAGENT.items() if key != "duration_ms"}
    requests = [*PARENT["requests"]]
    requests[1] = bare
    (recorded,) = read_weka(directory(tmp_path / "traces", session("bare", *requests)))
    assert recorded.turns[3].think_s == 45.0 - (9.0 + 3.0)


def test_the_one_form_serves_the_loader(tmp_path: Path) -> None:
    path = directory(tmp_path / "traces", PARENT, GROWS)
    trace = load_trace(TraceSpec("weka", 1, file=str(path), max_context_tokens=150))
    assert isinstance(trace, ClosedTrace)
    session = trace.source.session(0)
    assert session.id == "parent-0"
    assert session.turns[-1].context_tokens <= 150


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (session("x", block_size=16), "blocks of 16 tokens"),
        (session("x"), "has no turns"),
        (session("x", {**SUBAGENT, "requests": []}), "has no turns"),
        (session("x", request(0, 200, 1, [1, 2])), "turn 1 names 2 blocks for 200 tokens"),
        (session("x", request(0, 0, 1, [])), "turn 1 has no prompt"),
        (session("x", request(0, 64, 1, [-1])), ">= 0"),
        (session("x", request(0, 64, 1, [1], type="z")), "Invalid enum value 'z'"),
        (session("x", request(0, 64, 1, [1]), hash_id_scope="global"), "scope of hash ids"),
        ({"id": "x"}, "block_size"),
    ],
)
def test_a_wrong_session_is_named_by_its_file(
    tmp_path: Path, wrong: dict[str, Any], message: str
) -> None:
    path = directory(tmp_path / "traces", GROWS, wrong)
    with pytest.raises(ScenarioError, match=r"x\.json: .*" + message):
        list(read_weka(path))


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="cannot be read: No such file"):
        list(read_weka(tmp_path / "none.json"))
    with pytest.raises(ScenarioError, match=r"no \*\.json in"):
        list(read_weka(tmp_path))
    (tmp_path / "torn.json").write_text('{"id": "x", ')
    with pytest.raises(ScenarioError, match=r"torn\.json"):
        list(read_weka(tmp_path))
