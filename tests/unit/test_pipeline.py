"""The pipeline formula against its closed forms, and against what it must not be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.e2e.pipeline import on_wire_bytes, pipeline_s

durations = st.lists(
    st.tuples(st.floats(0, 5), st.floats(0, 5), st.floats(0, 5)), min_size=1, max_size=12
)


def columns(groups: list[tuple[float, float, float]]) -> tuple[list[float], ...]:
    return tuple([row[i] for row in groups] for i in range(3))


@pytest.mark.parametrize(
    ("load_s", "compute_s", "binds"), [(0.10, 0.02, "transfer"), (0.02, 0.10, "compute")]
)
def test_equal_groups(load_s: float, compute_s: float, binds: str) -> None:
    n = 8
    found = pipeline_s([load_s] * n, [compute_s] * n, [0.001] * n, slots=2)
    slow, fast = max(load_s, compute_s), min(load_s, compute_s)
    assert found == pytest.approx(n * slow + fast)
    # To push all layers first and compute then misses it by more than what a test allows.
    assert n * load_s + n * compute_s > 1.1 * found


def test_one_slot_is_no_pipeline() -> None:
    assert pipeline_s([1.0] * 3, [2.0] * 3, [0.5] * 3, slots=1) == pytest.approx(3 * 3.0 + 2 * 0.5)


def test_returns_bind_when_they_are_slow() -> None:
    # A slot is free when its group has left: with 2 slots, group 2 waits for the return of group 0.
    found = pipeline_s([1.0] * 3, [1.0] * 3, [10.0] * 3, slots=2)
    assert found == pytest.approx(1 + 1 + 10 + 1 + 1)


@given(durations, st.integers(1, 6))
def test_bounds(groups: list[tuple[float, float, float]], slots: int) -> None:
    loads, computes, returns = columns(groups)
    found = pipeline_s(loads, computes, returns, slots)
    assert found >= max(sum(loads) + computes[-1], loads[0] + sum(computes)) - 1e-9
    assert found <= sum(loads) + sum(computes) + sum(returns) + 1e-9
    assert found >= pipeline_s(loads, computes, returns, slots + 1) - 1e-9


def test_a_slot_is_needed() -> None:
    with pytest.raises(ValueError, match="one layer group"):
        pipeline_s([1.0], [1.0], [1.0], 0)


def test_frames_have_headers() -> None:
    assert on_wire_bytes(8948 * 10, 9000, 66) == pytest.approx(9014 * 10)
