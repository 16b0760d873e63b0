"""One request read on both sides at once: every byte verified, real tokens too.

storage ══ pe0 (2 engines) ══ compute fabric ══ de0 … (2 engines) ══ storage
"""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.records import PredictionRecord, RequestRecord, TransferRecord
from tests.e2e import test_tokens
from tests.e2e.test_read_paths import failed_checks, run, summary

EXAMPLE = Path(__file__).resolve().parents[2] / "scripts" / "examples" / "shares.py"


@pytest.mark.parametrize("preset", ["1p1d", "1p2d"])
def test_one_request_is_read_on_both_sides_at_once(tmp_path: Path, preset: str) -> None:
    policies = f"split, '{EXAMPLE}:TwoThirds'"
    ran = run(tmp_path, preset=preset, agents=4, policies=policies)
    assert failed_checks(ran) == {}
    assert list(ran.outcomes) == ["split", "shares.TwoThirds"]
    for policy, outcome in ran.outcomes.items():
        seen = summary(ran, policy)
        assert seen["requests_failed"] == seen["events"] == 0
        requests = [r for r in outcome.tables["requests"] if isinstance(r, RequestRecord)]
        split = {r.request: r for r in requests if r.path == "split"}
        assert split
        reads = [t for t in outcome.tables["transfers"] if isinstance(t, TransferRecord)]
        read: dict[int, dict[str, int]] = {number: {} for number in split}
        for t in reads:
            if t.kind == "storage_read" and t.request in split:
                at = read[t.request]
                at[t.target] = at.get(t.target, 0) + t.size_bytes
        for number, request in split.items():
            assert set(read[number]) == {request.prefill[:3], request.decode[:3]}
            assert sum(read[number].values()) == request.read_bytes
        predictions = [p for p in outcome.tables["predictions"] if isinstance(p, PredictionRecord)]
        assert {p.request for p in predictions} == {r.request for r in requests if r.hit_tokens}
        assert all(p.chosen_s > 0 and p.read_s > 0 for p in predictions)
        assert seen["prediction_error"]["by_path"]["split"]["requests"] > 0
        print(f"{preset} {policy}: {seen['path_share']}, {seen['prediction_error']}")


def test_tokens_of_split_reads_are_those_of_one_process(tmp_path: Path) -> None:
    ran = test_tokens.run(tmp_path, policies="split")
    assert failed_checks(ran) == {}
    paths = {r.path for r in test_tokens.records(ran, "split") if not r.error}
    assert "split" in paths
