"""The linear program against the closed form, the formula's window, and hand-made splits."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.bounds import best_split
from agents.caps import Shape, TurnBytes, balanced_window, best_network_cap, turn_loads

B = 400e9
HITS_ONLY = TurnBytes(1.0, 0.0, 0.0)

shapes = st.builds(
    Shape,
    prefill=st.integers(1, 4),
    decode=st.integers(1, 4),
    engines=st.integers(1, 8),
    snic_bps=st.floats(1e8, 1e12),
    cnic_bps=st.floats(1e8, 1e12),
)
turns = st.builds(
    TurnBytes, hit=st.floats(1e-3, 1e10), miss=st.floats(0, 1e9), generated=st.floats(0, 1e9)
)


def shape(prefill: int, decode: int, engines: int = 8, s: float = 1.0) -> Shape:
    return Shape(prefill, decode, engines, s * B, B)


@settings(deadline=None, max_examples=60)
@given(shapes, turns)
def test_the_closed_form_is_the_optimum(cluster: Shape, turn: TurnBytes) -> None:
    best = best_split(cluster, turn)
    closed = best_network_cap(cluster, turn)
    assert best.turns_per_s == pytest.approx(closed.turns_per_s, rel=1e-6)
    assert best.kv_load_bps == pytest.approx(8 * turn.hit * closed.turns_per_s, rel=1e-6)


@settings(deadline=None, max_examples=60)
@given(shapes, turns)
def test_at_the_optimum_nothing_is_fuller_than_full(cluster: Shape, turn: TurnBytes) -> None:
    best = best_split(cluster, turn)
    loads = turn_loads(turn, best.share)
    full = {
        nic: 8 * loads[nic] * best.turns_per_s / capacity
        for nic, capacity in cluster.capacities_bps().items()
    }
    assert max(full.values()) == pytest.approx(1.0, rel=1e-6)
    assert best.bound_by
    for nic in best.bound_by:
        assert full[nic] == pytest.approx(1.0, rel=1e-6)  # type: ignore[index]


@pytest.mark.parametrize(
    ("cluster", "snics", "binding"),
    [
        # g=4, s=1 is balanced from P/D of 1/3 to 1.5.
        (shape(1, 2, 4), 3.0, {"pe-snic-in", "de-snic-in"}),
        (shape(1, 1, 4), 2.0, {"pe-snic-in", "de-snic-in"}),
        (shape(2, 1, 4), 2.5, {"de-snic-in", "de-cnic-write"}),
        (shape(3, 1, 4), 2.5, {"de-snic-in", "de-cnic-write"}),
        # g=2, s=1 never is.
        (shape(1, 1, 2), 4 / 3, {"de-cnic-read", "de-cnic-write"}),
    ],
)
def test_the_cnic_binds_where_the_formula_says(
    cluster: Shape, snics: float, binding: set[str]
) -> None:
    best = best_split(cluster, HITS_ONLY)
    assert best.kv_load_bps == pytest.approx(snics * cluster.snic_bps)
    assert set(best.bound_by) == binding
    window = balanced_window(cluster.engines, cluster.snic_bps / cluster.cnic_bps)
    ratio = cluster.prefill / cluster.decode
    inside = window is not None and window[0] <= ratio <= window[1]
    assert inside == (not any("cnic" in name for name in best.bound_by))


@pytest.mark.parametrize(
    ("prefill", "decode", "inside"), [(3, 1, True), (7, 2, True), (4, 1, False)]
)
def test_dram_ends_the_window_where_the_formula_says(
    prefill: int, decode: int, inside: bool
) -> None:
    # DRAM of ten times a CNIC's rate ends the window at (10 - 3) / 2 = 3.5; sixteen CNICs to a
    # node, so that they do not end it before.
    cluster = Shape(prefill, decode, 16, B, B)
    best = best_split(cluster, HITS_ONLY, dram_bps=10 * B)
    assert (best.kv_load_bps >= (prefill + decode) * B * (1 - 1e-9)) == inside
    assert ("de-dram" in best.bound_by) == (not inside)
    window = balanced_window(16, 1, 10)
    assert window is not None and (window[0] <= prefill / decode <= window[1]) == inside


def test_no_random_placement_does_better() -> None:
    """Two prefill nodes and one decode node: any rates on their four ways, scaled until full."""
    cluster, turn = shape(2, 1, 4, 0.7), TurnBytes(1.0, 0.05, 0.02)
    best = best_split(cluster, turn)
    on_pe, on_de = turn_loads(turn, 1.0), turn_loads(turn, 0.0)
    rng = np.random.default_rng(1)
    for _ in range(300):
        pe, de = rng.dirichlet([1, 1, 1, 1]).reshape(2, 2)  # by prefill node
        heaviest = 0.0
        for nic, capacity in cluster.capacities_bps().items():
            at = pe * on_pe[nic] + de * on_de[nic]
            load = at.max() * 2 if nic.startswith("pe") else at.sum()
            heaviest = max(heaviest, 8 * float(load) / capacity)
        assert 1 / heaviest <= best.turns_per_s * (1 + 1e-9)


def test_turns_that_move_nothing_are_unlimited() -> None:
    best = best_split(shape(1, 1), TurnBytes(0.0, 0.0, 0.0))
    assert best.turns_per_s == float("inf") and best.bound_by == ()


def test_the_solver_is_imported_when_it_is_needed() -> None:
    code = "import sys, agents.bounds, agents.workload; print('scipy' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "False"
