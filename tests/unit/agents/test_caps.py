"""NIC loads and caps against DualPath, section 4.2, and what follows from it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.caps import (
    Shape,
    TurnBytes,
    balanced_window,
    best_network_cap,
    network_cap,
    policy_network_cap,
    shape_of,
    turn_loads,
)
from testbed.errors import TopologyError
from testbed.plan.model import Domain, Meter, Plan

B = 400e9
HITS_ONLY = TurnBytes(1e9, 0, 0)


def shape(prefill: int, decode: int, engines: int = 8, s: float = 1.0) -> Shape:
    return Shape(prefill, decode, engines, s * B, B)


def ratio(cluster: Shape, policy: str = "shorter-queue", over: str = "pe-only") -> float:
    caps = [policy_network_cap(cluster, HITS_ONLY, name).turns_per_s for name in (policy, over)]
    return caps[0] / caps[1]


@pytest.mark.parametrize(
    ("cluster", "speedup"),
    [
        (shape(1, 1), 2.0),
        (shape(2, 1), 1.5),
        (shape(1, 2), 3.0),
        (shape(2, 4), 3.0),
        (shape(1, 1, engines=4), 2.0),
        (shape(1, 1, engines=2), 4 / 3),  # the CNICs bind
        (shape(2, 1, engines=4), 1.25),
        (shape(2, 1, engines=4, s=0.5), 1.5),
    ],
)
def test_ideal_speedup_over_reading_on_the_prefill_side(cluster: Shape, speedup: float) -> None:
    assert ratio(cluster) == pytest.approx(speedup)


def test_alternating_is_limited_by_the_smaller_side() -> None:
    assert ratio(shape(2, 1), "round-robin") == pytest.approx(1.0)
    assert ratio(shape(2, 4), "round-robin") == pytest.approx(2.0)
    assert ratio(shape(2, 4), "de-only") == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("engines", "s", "dram", "window"),
    [
        (8, 1, 10, (1 / 7, 7 / 2)),
        (4, 1, None, (1 / 3, 1.5)),
        (4, 0.5, None, (1 / 7, 3.5)),
        (2, 0.5, None, (1 / 3, 1.5)),
        (2, 1, None, None),
        (8, 2, 10, (1 / 3, 1.0)),  # DRAM-bound
    ],
)
def test_windows_of_balanced_clusters(
    engines: int, s: float, dram: float | None, window: tuple[float, float] | None
) -> None:
    found = balanced_window(engines, s, dram)
    assert found == (None if window is None else pytest.approx(window))


@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 16), st.floats(0.1, 4))
def test_all_snics_are_reached_exactly_inside_the_window(
    prefill: int, decode: int, engines: int, s: float
) -> None:
    cluster = shape(prefill, decode, engines, s)
    cap = best_network_cap(cluster, HITS_ONLY)
    all_snics = (prefill + decode) * s * B / 8 / HITS_ONLY.hit
    window = balanced_window(engines, s)
    inside = window is not None and window[0] <= prefill / decode <= window[1]
    margin = 1e-9
    if inside:
        assert cap.turns_per_s == pytest.approx(all_snics)
        assert cap.share == pytest.approx(prefill / (prefill + decode))
    elif window is None or not (
        window[0] * (1 - margin) < prefill / decode < window[1] * (1 + margin)
    ):
        assert cap.turns_per_s < all_snics * (1 + 1e-12)


turns = st.builds(
    TurnBytes,
    hit=st.floats(1e6, 1e10),
    miss=st.floats(0, 1e9),
    generated=st.floats(0, 1e9),
)
shapes = st.builds(
    Shape,
    prefill=st.integers(1, 6),
    decode=st.integers(1, 6),
    engines=st.integers(1, 8),
    snic_bps=st.floats(1e8, 1e12),
    cnic_bps=st.floats(1e8, 1e12),
)


@given(shapes, turns)
def test_no_share_does_better_than_the_best(cluster: Shape, turn: TurnBytes) -> None:
    best = best_network_cap(cluster, turn)
    for share in np.linspace(0, 1, 101):
        found = network_cap(cluster, turn, float(share)).turns_per_s
        assert found <= best.turns_per_s * (1 + 1e-9)


@given(shapes, turns, st.floats(0, 1))
def test_at_its_cap_one_class_is_full_and_none_is_fuller(
    cluster: Shape, turn: TurnBytes, share: float
) -> None:
    cap = network_cap(cluster, turn, share)
    loads = turn_loads(turn, share)
    full = {
        nic: 8 * loads[nic] * cap.turns_per_s / line
        for nic, line in cluster.capacities_bps().items()
    }
    assert full[cap.bound_by] == pytest.approx(1.0)
    assert max(full.values()) <= 1 + 1e-9


@given(turns, st.floats(0, 1), st.booleans())
def test_loads_add_up_over_the_steps_of_both_paths(
    turn: TurnBytes, share: float, loopback: bool
) -> None:
    """Count every crossing of the two paths, step by step (sections 4.1 and 4.2)."""
    pe_hit, de_hit = share * turn.hit, (1 - share) * turn.hit
    reads: dict[str, float] = {"pe": 0.0, "de": 0.0}
    writes = dict(reads)
    crossings = [
        ("pe", "pe", pe_hit),  # PE buffer -> PE HBM, loopback
        ("pe", "de", pe_hit + turn.miss),  # PE HBM -> DE buffer: hit and miss, or miss only
        ("de", "pe", de_hit),  # DE buffer -> PE HBM
        ("de", "de", turn.prompt),  # DE buffer -> DE HBM, loopback
        ("de", "de", turn.generated),  # DE HBM -> DRAM, to be stored
    ]
    for source, target, size in crossings:
        if source == target and not loopback:
            continue  # by PCIe
        reads[source] += size
        writes[target] += size
    loads = turn_loads(turn, share, loopback=loopback)
    for side in ("pe", "de"):
        assert loads[f"{side}-cnic-read"] == pytest.approx(reads[side], rel=1e-9, abs=1e-6)  # type: ignore[index]
        assert loads[f"{side}-cnic-write"] == pytest.approx(writes[side], rel=1e-9, abs=1e-6)  # type: ignore[index]
    assert loads["pe-snic-in"] + loads["de-snic-in"] == pytest.approx(turn.hit)
    assert loads["de-snic-out"] == pytest.approx(turn.miss + turn.generated)


def test_loads_that_were_measured_on_2p4d() -> None:
    # 600 Mbit from storage on 16 prefill and 32 decode CNICs: Mbit per CNIC.
    loads = turn_loads(TurnBytes(600.0, 0.0, 0.0), 1 / 3)
    per_cnic = {
        "pe-cnic-read": (16, 25.0),
        "pe-cnic-write": (16, 37.5),
        "de-cnic-read": (32, 31.25),
        "de-cnic-write": (32, 25.0),
    }
    for nic, (count, mbit) in per_cnic.items():
        assert loads[nic] / count == pytest.approx(mbit)  # type: ignore[index]


def test_a_turn_that_moves_nothing_has_no_cap() -> None:
    assert network_cap(shape(1, 1), TurnBytes(0, 0, 0), 0.5).turns_per_s == float("inf")


def plan(prefill: int, decode: int, engines: int, snic_bps: int, cnic_bps: int) -> Plan:
    domains, meters = {}, []
    nodes = [("prefill", f"pe{n}") for n in range(prefill)]
    nodes += [("decode", f"de{n}") for n in range(decode)]
    for role, node in nodes:
        domains[node] = Domain(node, "dram", node, role, {})
        for way in ("in", "out"):
            meters.append(
                Meter(f"{node}/snic0", "snic", node, role, way, node, "snic0", snic_bps, 1, {})
            )
        for rail, way in itertools.product(range(engines), ("read", "write")):
            domains[f"{node}g{rail}"] = Domain(f"{node}g{rail}", "hbm", node, role, {})
            nic = f"{node}/cnic{rail}"
            meters.append(
                Meter(nic, "cnic", node, role, way, "fabric", nic, cnic_bps, 1, {})  # type: ignore[arg-type]
            )
    # A storage node's SNIC is as fast as all others together: it is no part of the shape.
    domains["st0"] = Domain("st0", "dram", "st0", "storage", {})
    meters.append(
        Meter("st0/snic0", "snic", "st0", "storage", "out", "st0", "snic0", 9 * snic_bps, 1, {})
    )
    return Plan(frozenset(), "made", domains, tuple(meters))


def test_the_shape_of_a_plan() -> None:
    found = shape_of(plan(2, 4, 8, 10**8, 2 * 10**8))
    assert found == Shape(2, 4, 8, 1e8, 2e8)


def test_what_is_no_dualpath_cluster() -> None:
    with pytest.raises(TopologyError, match="not a DualPath cluster"):
        shape_of(plan(2, 0, 8, 10**8, 10**8))
    unlike = plan(1, 1, 2, 10**8, 10**8)
    del unlike.domains["de0g1"]
    with pytest.raises(TopologyError, match="same number of engines"):
        shape_of(unlike)
