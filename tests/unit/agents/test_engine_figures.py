"""Where GPU time went, from records of iterations and steps."""

from __future__ import annotations

import pytest

from agents.engine_figures import always_at_work, engine_figures
from agents.records import IterationRecord, StepRecord


def iteration(engine: str, number: int, end_s: float, attention_s: float) -> IterationRecord:
    return IterationRecord(
        engine=engine,
        iteration=number,
        t_start=end_s - 1,
        t_end=end_s,
        requests=4,
        tokens=400,
        attention_s=attention_s,
        ffn_s=0.3,
        stall_s=0.1,
        wait_s=0.2,
        starved_s=0.4,
    )


def test_shares_of_gpu_time_and_imbalance() -> None:
    made = [
        iteration("pe0g0", 1, 1.0, 0.2),
        iteration("pe0g1", 1, 1.0, 0.6),
        iteration("pe0g0", 2, 2.0, 0.4),  # the other rank has nothing to do
        iteration("pe0g0", 3, 99.0, 9.0),  # after the window
    ]
    found = engine_figures(made, [], (0.0, 10.0), nodes=1, ranks=2)
    assert found["gpu_time"] == pytest.approx(
        {
            "compute": (1.2 + 0.9) / 20,
            "kv": 1.5 / 20,
            "ranks": 0.6 / 20,
            "collectives": (3 * 1.4 - 2.1 - 1.5 - 0.6) / 20,
            "idle": 1 - 3 * 1.4 / 20,
        }
    )
    assert found["gpu_wait_share"] == pytest.approx(1.5 / (3 * 1.4))
    assert found["prefill_batch"] == 4
    assert found["attention_max_avg"] == pytest.approx((0.6 + 0.4) / (0.4 + 0.2))
    assert found["decode_batch"] is None
    assert found["itl_s"] == {"p50": None, "p99": None, "mean": None}


def test_every_request_of_a_step_waits_for_its_token() -> None:
    steps = [StepRecord("de0g0", 0.0, 1.0, 98, 10.0), StepRecord("de0g0", 1.0, 4.0, 2, 10.0)]
    found = engine_figures([], steps, (0.0, 10.0), nodes=1, ranks=2)
    assert found["decode_batch"] == 50
    assert found["itl_s"] == {"p50": 1.0, "p99": 3.0, "mean": pytest.approx(1.04)}
    assert found["gpu_time"] is None


def test_engines_bind_that_always_have_work() -> None:
    # Two ranks, 1.4 s of every 1.4 s: the first 0.4 s of each for KV that was read.
    made = [iteration(f"pe0g{rank}", n, 1.4 * n, 0.4) for n in range(1, 11) for rank in (0, 1)]
    busy = engine_figures(made, [], (0.0, 14.1), nodes=1, ranks=2)["gpu_time"]
    assert always_at_work(busy)
    rested = engine_figures(made, [], (0.0, 16.0), nodes=1, ranks=2)["gpu_time"]
    assert rested is not None and not always_at_work(rested)
    assert not always_at_work(None)
