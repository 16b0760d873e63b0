"""The ring is even and moves little; the runs of a prefix say of every block who keeps it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.blocks.hashing import stream_hashes
from agents.storage.placement import Placement, Ring

HASHES = stream_hashes(7, 20_000)
node_sets = st.lists(
    st.text("abcdefst0123456789", min_size=1, max_size=5), min_size=1, max_size=12, unique=True
)


@settings(max_examples=30)
@given(node_sets)
def test_every_node_has_its_share(nodes: list[str]) -> None:
    ring = Ring(nodes)
    counts = np.bincount(ring.owners(HASHES), minlength=len(nodes))
    mean = len(HASHES) / len(nodes)
    # Shares scatter by 1 / sqrt(256) = 6 %, and samples by a little more: five deviations.
    assert (abs(counts - mean) < 0.4 * mean).all()


@settings(max_examples=30)
@given(node_sets, st.text("xyz", min_size=1, max_size=4))
def test_a_node_that_comes_takes_from_others_and_nothing_else_moves(
    nodes: list[str], new: str
) -> None:
    before, after = Ring(nodes), Ring([*nodes, new])
    was = np.array(before.nodes)[before.owners(HASHES)]
    now = np.array(after.nodes)[after.owners(HASHES)]
    assert set(now[was != now].tolist()) <= {new}
    assert (now == new).mean() < 1.4 / (len(nodes) + 1)


@given(st.permutations(["st0", "st1", "st2", "st10"]))
def test_the_order_of_nodes_does_not_matter(nodes: list[str]) -> None:
    found = Ring(nodes).owners(HASHES[:100])
    assert found.tolist() == Ring(["st0", "st1", "st2", "st10"]).owners(HASHES[:100]).tolist()


def test_small_numbers_are_spread_too() -> None:
    counts = np.bincount(Ring(["a", "b"]).owners(np.arange(1000, dtype=np.uint64)))
    assert counts.min() > 300


@given(
    nodes=st.integers(1, 4),
    extent=st.integers(1, 9),
    length=st.integers(0, 40),
    data=st.data(),
)
def test_runs_are_every_block_at_the_node_of_its_extent(
    nodes: int, extent: int, length: int, data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, length))
    count = data.draw(st.none() | st.integers(0, length - first))
    names = [f"st{number}" for number in range(nodes)]
    prefix = HASHES[:length]
    ring = Ring(names)
    runs = Placement(names, extent).runs(prefix, first, count)
    found = [(run.node, run.first + n) for run in runs for n in range(run.blocks)]
    end = length if count is None else first + count
    firsts = [block // extent * extent for block in range(first, end)]
    owners = [ring.nodes[ring.owners(prefix[at : at + 1])[0]] for at in firsts]
    assert found == list(zip(owners, range(first, end), strict=True))
    assert all(run.blocks > 0 for run in runs)
    assert all(a.node != b.node for a, b in pairwise(runs))


def test_prefixes_that_share_a_beginning_share_its_extents() -> None:
    one, other = HASHES[:100].copy(), HASHES[:100].copy()
    other[70:] = stream_hashes(8, 30)
    placement = Placement(["st0", "st1", "st2"], 16)
    assert placement.runs(one, 0, 64) == placement.runs(other, 0, 64)
    assert placement.runs(one[:80], 64) == placement.runs(
        other[:80], 64
    )  # begins at a shared block


def test_what_cannot_be_placed_is_refused() -> None:
    with pytest.raises(ValueError, match="without nodes"):
        Ring([])
    with pytest.raises(ValueError, match="extents of 0"):
        Placement(["st0"], 0)
    with pytest.raises(ValueError, match="prefix of 3"):
        Placement(["st0"], 4).runs(HASHES[:3], 2, 2)


@settings(max_examples=30)
@given(st.sets(st.sampled_from(["st0", "st1", "st2", "st3"]), min_size=2), st.integers(1, 9))
def test_when_a_node_goes_the_others_keep_what_they_had(nodes: set[str], extent: int) -> None:
    before = Placement(sorted(nodes), extent)
    lost = min(nodes)
    after = before.without(lost)
    owner = {
        b: r.node for r in after.runs(HASHES[:200]) for b in range(r.first, r.first + r.blocks)
    }
    assert lost not in owner.values()
    for run in before.runs(HASHES[:200]):
        if run.node != lost:
            assert {owner[b] for b in range(run.first, run.first + run.blocks)} == {run.node}


def test_a_ring_never_loses_its_last_node_or_one_that_is_not_on_it() -> None:
    placement = Placement(["st0"], 4)
    assert placement.without("st0") is placement
    assert placement.without("de0") is placement
