"""Predictions at full scale against the figures that DualPath's section 7 implies."""

from __future__ import annotations

import math

import pytest

from agents.caps import Shape, TurnBytes
from agents.compute import prefill_flops
from agents.models import PRESETS
from agents.prediction import (
    Switched,
    TurnTimes,
    agents_needed,
    expected_batch,
    predict,
    unloaded_s,
)

HIT, APPEND, GENERATED = 32_721, 429, 176  # a mean turn of the 64K trace
PAPER = Shape(2, 4, 8, 400e9, 400e9)


def turn(kv_bytes: int) -> TurnBytes:
    return TurnBytes(HIT * kv_bytes, APPEND * kv_bytes, GENERATED * kv_bytes)


MODEL = PRESETS["ds-660b"]
MODELLED = TurnTimes(
    prefill_s=prefill_flops(MODEL, HIT, APPEND) / 227e12, decode_s=GENERATED * 39e-3
)


@pytest.mark.parametrize(("kv_bytes", "caps"), [(78_324, (39, 60, 117)), (42_944, (71, 60, 214))])
def test_caps_of_the_papers_cluster(kv_bytes: int, caps: tuple[float, float, float]) -> None:
    found = predict(PAPER, turn(kv_bytes), MODELLED, ["pe-only"]).caps_turns_per_s
    names = ("pe-snics", "prefill-compute", "all-snics")
    assert [found[name] for name in names] == pytest.approx(caps, abs=0.6)


def test_compute_hides_a_part_of_the_gain() -> None:
    found = predict(PAPER, turn(78_324), MODELLED, ["pe-only", "shorter-queue"]).policies
    assert found["pe-only"].bound_by == "pe-snic-in"
    assert found["shorter-queue"].bound_by == "prefill-compute"
    assert [each.binds for each in found.values()] == ["pe-snics", "prefill-compute"]
    assert found["shorter-queue"].speedup == pytest.approx(1.54, abs=0.02)


def test_with_fewer_bytes_per_token_there_is_no_gain() -> None:
    found = predict(PAPER, turn(42_944), MODELLED, ["pe-only", "shorter-queue"]).policies
    assert {policy.bound_by for policy in found.values()} == {"prefill-compute"}
    assert found["shorter-queue"].speedup == pytest.approx(1.0)


def test_the_network_alone() -> None:
    policies = ["pe-only", "de-only", "round-robin", "shorter-queue"]
    found = predict(PAPER, turn(78_324), TurnTimes(), policies)
    speedups = {name: policy.speedup for name, policy in found.policies.items()}
    assert speedups == pytest.approx(
        {"pe-only": 1.0, "de-only": 2.0, "round-robin": 2.0, "shorter-queue": 3.0}
    )
    assert [policy.binds for policy in found.policies.values()] == [
        "pe-snics", "de-snics", "pe-snics", "all-snics"
    ]  # fmt: skip
    assert found.caps_turns_per_s["prefill-compute"] == math.inf
    assert found.policies["shorter-queue"].kv_load_bps == pytest.approx(6 * 400e9)


def test_cnics_bind_where_the_window_is_empty() -> None:
    cluster = Shape(1, 1, 2, 400e9, 400e9)
    found = predict(cluster, turn(78_324), TurnTimes(), ["pe-only", "shorter-queue"])
    assert "cnic" in found.policies["shorter-queue"].bound_by
    assert found.policies["shorter-queue"].binds == "cnics"
    assert 1.1 <= (found.policies["shorter-queue"].speedup or 0) <= 1.36


def test_a_policy_that_is_not_known_is_credited_with_the_best_share() -> None:
    found = predict(PAPER, turn(78_324), TurnTimes(), ["shorter-queue", "mine.Policy"])
    assert found.policies["mine.Policy"] == found.policies["shorter-queue"]


def test_small_hbm_binds_decode() -> None:
    # Two requests of 2.6 GB at a time on each of 32 engines, 6.9 s each and 0.05 s of copying.
    found = predict(PAPER, turn(78_324), MODELLED, ["shorter-queue"], hbm_bytes=6e9)
    assert found.policies["shorter-queue"].bound_by == "decode-hbm"
    assert found.policies["shorter-queue"].turns_per_s == pytest.approx(64 / 6.92, rel=0.01)


def test_the_clock_may_release_less_than_the_cluster_can_do() -> None:
    found = predict(
        PAPER, turn(78_324), TurnTimes(), ["pe-only", "shorter-queue"], arrivals_per_s=3.0
    )
    assert {p.bound_by for p in found.policies.values()} == {"arrivals"}
    assert found.policies["shorter-queue"].speedup == pytest.approx(1.0)


def test_a_turn_without_hits_has_no_speedup() -> None:
    found = predict(PAPER, TurnBytes(0, 1e9, 0), TurnTimes(), ["pe-only"])
    assert found.policies["pe-only"].speedup is None
    assert found.policies["pe-only"].kv_load_bps == 0


def test_agents_keep_three_times_what_is_served_waiting() -> None:
    found = predict(PAPER, turn(78_324), MODELLED, ["pe-only", "shorter-queue"])
    fastest = found.policies["shorter-queue"].turns_per_s
    assert found.agents == math.ceil(3 * fastest * found.service_s)
    assert found.service_s == unloaded_s(PAPER, turn(78_324), MODELLED)
    assert found.service_s > MODELLED.decode_s + MODELLED.prefill_s
    # Thinking agents need no reserve.
    assert agents_needed(10, 2.0, TurnTimes(think_s=100.0)) == 1060


def test_baselines_have_a_path_and_a_prefill_time_of_their_own() -> None:
    slow = 2 * MODELLED.prefill_s
    found = predict(
        PAPER,
        turn(78_324),
        MODELLED,
        ["basic", "pe-only", "oracle"],
        switched={
            "basic": Switched("pe-only", slow),
            "oracle": Switched("pe-only", MODELLED.prefill_s, moves_kv=False),
        },
    ).policies
    assert found["basic"].bound_by == "prefill-compute"
    assert found["basic"].turns_per_s == pytest.approx(30, abs=0.5)
    assert found["pe-only"].bound_by == "pe-snic-in"
    assert found["oracle"].bound_by == "prefill-compute"
    assert found["oracle"].kv_load_bps == 0
    assert found["oracle"].speedup == pytest.approx(2.0)


def test_a_batch_is_bounded_by_quota_or_hbm() -> None:
    assert expected_batch(0.3, 0.04, math.inf, 1) == pytest.approx(7.5)
    assert expected_batch(0.3, 0.04, hbm_bytes=10e9, held_bytes=2.6e9) == 3
    assert expected_batch(0.3, 0.5, math.inf, 1) == 1  # cut
    assert expected_batch(0.3, 0.0, 1e9, 2.6e9) == 1


def test_something_must_be_compared() -> None:
    with pytest.raises(ValueError, match="no policy"):
        predict(PAPER, turn(78_324), TurnTimes(), [])
