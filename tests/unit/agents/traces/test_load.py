"""From a description to sessions, and the mean turn of a trace."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from agents.traces.agentic import agentic_trace
from agents.traces.load import (
    ClosedTrace,
    OpenTrace,
    TraceSpec,
    arrivals_per_s,
    closed_means,
    load_trace,
    open_means,
)
from agents.traces.recorded import RecordedSessions
from agents.traces.session import BLOCK_TOKENS, hit_blocks
from testbed.errors import ScenarioError


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    """Ten requests, a second apart, each with the prefix of the one before and 512 tokens more."""
    path = tmp_path / "requests.jsonl"
    lines = (
        {
            "timestamp": 1000 * n,
            "input_length": 512 * (n + 1),
            "output_length": 64,
            "hash_ids": list(range(n + 1)),
        }
        for n in range(10)
    )
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def opened(spec: TraceSpec) -> OpenTrace:
    trace = load_trace(spec)
    assert isinstance(trace, OpenTrace)
    return trace


def test_each_kind_is_opened(tmp_path: Path, requests: Path) -> None:
    generated = load_trace(TraceSpec("agentic", seed=4, trace="32k"))
    assert isinstance(generated, ClosedTrace)
    assert generated.source.session(1).id == agentic_trace("32k", 4).session(1).id
    recorded = tmp_path / "sessions.jsonl"
    turn = {"t": 0, "in": 64, "out": 1, "hit": 0, "h": [[0, 1]]}
    recorded.write_text(json.dumps({"id": "a", "block_size": 64, "turns": [turn]}))
    closed = load_trace(TraceSpec("sessions", seed=1, file=str(recorded)))
    assert isinstance(closed, ClosedTrace)
    assert isinstance(closed.source, RecordedSessions)
    assert len(opened(TraceSpec("mooncake", seed=1, file=str(requests))).sessions) == 10
    with pytest.raises(ScenarioError, match="there are 32k, 48k, 64k"):
        load_trace(TraceSpec("agentic", seed=1, trace="65k"))


def test_a_slice_begins_with_what_came_before_it(requests: Path) -> None:
    spec = TraceSpec(
        "mooncake", seed=1, file=str(requests), skip_s=4.0, time_factor=0.5, length_s=1.5
    )
    trace = opened(spec)
    assert [session.turns[0].release_s for session in trace.sessions] == [0.0, 0.5, 1.0]
    # The fourth request has left 2 048 tokens; the first that is played reads them all.
    (prefix,) = trace.prefixes
    first = trace.sessions[0].turns[0]
    assert prefix.tolist() == first.hashes[: 2048 // BLOCK_TOKENS].tolist()
    assert hit_blocks(first, set(prefix.tolist())) == 32
    assert arrivals_per_s(trace) == pytest.approx(2.0)


def test_a_slice_without_requests_is_refused(requests: Path) -> None:
    with pytest.raises(ScenarioError, match="from second 60 on"):
        load_trace(TraceSpec("mooncake", seed=1, file=str(requests), skip_s=60.0))


def test_means_of_a_clock_released_trace(requests: Path) -> None:
    trace = opened(TraceSpec("mooncake", seed=1, file=str(requests), skip_s=4.0))
    warm, cold = (open_means(trace, warm=warm) for warm in (True, False))
    prompts = [512 * (n + 1) for n in range(4, 10)]
    assert warm.prompt_tokens == cold.prompt_tokens == np.mean(prompts)
    assert warm.generate_tokens == 64
    assert warm.longest_tokens == 5120 + 64
    # Each hits the prompt of the one before; without a warm start the first finds nothing.
    assert warm.miss_tokens == 512
    assert cold.miss_tokens == pytest.approx(512 + 2048 / 6)


def test_means_of_a_closed_trace_weigh_trajectories_alike() -> None:
    means = closed_means(agentic_trace("64k", 1))
    assert means.prompt_tokens == pytest.approx(32_721 + 429, rel=0.03)
    assert means.generate_tokens == pytest.approx(176, rel=0.03)
    # What is appended, and half a block that the turn before has not filled.
    assert means.miss_tokens == pytest.approx(429 + 31.5, rel=0.03)
