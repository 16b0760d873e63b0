"""Mooncake's form: ids of 512 tokens, shared by all requests, released by the clock."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from agents.traces.mooncake import read_requests
from agents.traces.session import BLOCK_TOKENS, Session, hit_blocks
from testbed.errors import ScenarioError

REQUESTS = [
    {"timestamp": 0, "input_length": 1100, "output_length": 30, "hash_ids": [0, 1, 2]},
    {"timestamp": 500, "input_length": 1536, "output_length": 1, "hash_ids": [0, 1, 3]},
    {"timestamp": 500, "input_length": 1100, "output_length": 700, "hash_ids": [0, 1, 2]},
    {"timestamp": 2000, "input_length": 600, "output_length": 0, "hash_ids": [4, 5]},
]


def write(path: Path, lines: list[object]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def replayed_hits(sessions: list[Session]) -> list[int]:
    stored: set[int] = set()
    found = []
    for session in sessions:
        (turn,) = session.turns
        found.append(hit_blocks(turn, stored) * BLOCK_TOKENS)
        stored.update(turn.stored_hashes.tolist())
    return found


def test_ids_expand_to_blocks_that_all_requests_share(tmp_path: Path) -> None:
    sessions = read_requests(write(tmp_path / "trace.jsonl", list(REQUESTS)))
    # The third repeats the first up to its last full block of 64: 1088 of 1100 tokens.
    assert replayed_hits(sessions) == [0, 1024, 1088, 0]
    assert [len(session.turns[0].hashes) for session in sessions] == [18, 25, 29, 10]


def test_generated_blocks_belong_to_one_request(tmp_path: Path) -> None:
    sessions = read_requests(write(tmp_path / "trace.jsonl", list(REQUESTS)))
    first, third = sessions[0].turns[0].hashes, sessions[2].turns[0].hashes
    assert first[:17].tolist() == third[:17].tolist()
    assert not set(first[17:].tolist()) & set(third[17:].tolist())


def test_release_times_are_scaled_from_an_origin(tmp_path: Path) -> None:
    path = write(tmp_path / "trace.jsonl", list(REQUESTS))
    sessions = read_requests(path, time_factor=0.1, origin_s=0.5)
    assert [s.turns[0].release_s for s in sessions] == pytest.approx([-0.05, 0, 0, 0.15])


def test_gzip_is_read_whatever_its_name(tmp_path: Path) -> None:
    plain = write(tmp_path / "trace.jsonl", list(REQUESTS))
    zipped = tmp_path / "trace.data"
    zipped.write_bytes(gzip.compress(plain.read_bytes()))
    assert replayed_hits(read_requests(zipped)) == replayed_hits(read_requests(plain))


def test_long_requests_are_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "trace.jsonl", list(REQUESTS))
    kept = read_requests(path, max_context_tokens=1200)
    assert [session.id for session in kept] == ["request-0", "request-3"]
    with pytest.raises(ScenarioError, match="longer than 100 tokens"):
        read_requests(path, max_context_tokens=100)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({**REQUESTS[0], "hash_ids": [0, 1]}, r"t\.jsonl:2: 2 hash ids for 1100 tokens"),
        ({**REQUESTS[0], "timestamp": -1}, r"t\.jsonl:2: .*>= 0"),
        ({**REQUESTS[0], "hash_ids": [0, 1, "x"]}, r"t\.jsonl:2: .*int.*hash_ids"),
        ({"timestamp": 0}, r"t\.jsonl:2: .*input_length"),
        ([], r"t\.jsonl:2: .*object"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: object, message: str) -> None:
    path = write(tmp_path / "t.jsonl", [REQUESTS[0], line])
    with pytest.raises(ScenarioError, match=message):
        read_requests(path)


def test_requests_out_of_order_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", list(reversed(REQUESTS)))
    with pytest.raises(ScenarioError, match="sort the trace"):
        read_requests(path)


def test_files_that_are_no_trace(tmp_path: Path) -> None:
    empty = write(tmp_path / "empty.jsonl", [])
    with pytest.raises(ScenarioError, match="is empty"):
        read_requests(empty)
    with pytest.raises(ScenarioError, match="cannot be read"):
        read_requests(tmp_path / "absent.jsonl")
    whole = gzip.compress(write(tmp_path / "t.jsonl", list(REQUESTS)).read_bytes())
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(whole[:-12])
    with pytest.raises(ScenarioError, match="cannot be read"):
        read_requests(cut)
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"timestamp": 0, \n')
    with pytest.raises(ScenarioError, match=r"broken\.jsonl:1"):
        read_requests(broken)


def test_the_published_trace_has_the_hits_of_its_own_ids(recorded_traces: Path) -> None:
    path = recorded_traces / "mooncake_conversation_trace.jsonl.gz"
    sessions = read_requests(path)[:3000]
    seen: set[int] = set()
    expected = []
    with gzip.open(path) as lines:
        for line, _ in zip(lines, sessions, strict=False):
            request = json.loads(line)
            ids = request["hash_ids"]
            known = next((n for n, name in enumerate(ids) if name not in seen), len(ids))
            tokens = min(known * 512, request["input_length"] - 1)
            expected.append(tokens // BLOCK_TOKENS * BLOCK_TOKENS)
            seen.update(ids)
    assert replayed_hits(sessions) == expected
