"""The classes of a shaper: what each is promised, what it may borrow, and who goes first."""

from __future__ import annotations

from testbed.plan.lanes import (
    KV_LANE,
    KV_LEAVES,
    MODEL_LANE,
    MODEL_LEAVES,
    ROOT,
    UNCLASSIFIED,
    Leaf,
    Leaves,
    leaf_names,
    shaper_elements,
)
from testbed.plan.model import Shaper, ShaperClass, burst_ticks
from testbed.plan.settings import PlanSettings

LINE = 400_000_000
SETTINGS = PlanSettings()
TWO = [Leaf(1, 1, ("a",)), Leaf(0, 1, ("b", "c"))]
ALL = [Leaf(0, 0, ("a", "b", "c"))]


def classes(leaves: Leaves, *, lanes: bool = True) -> dict[int, ShaperClass]:
    made = shaper_elements("h1", "eth0", LINE, leaves, SETTINGS, lanes=lanes)
    return {each.classid: each for each in made if isinstance(each, ShaperClass)}


def test_lanes_have_99_and_1_percent_of_the_line_and_may_borrow_all_of_it() -> None:
    made = classes(Leaves(ALL, TWO))
    assert made[KV_LANE].rate_bps == LINE // 100
    assert made[UNCLASSIFIED].rate_bps == LINE // 1000
    lanes = (MODEL_LANE, KV_LANE, UNCLASSIFIED)
    assert sum(made[each].rate_bps for each in lanes) == made[ROOT].rate_bps == LINE
    assert {each.ceil_bps for each in made.values()} == {LINE}


def test_the_leaves_of_a_lane_share_what_it_is_promised() -> None:
    made = classes(Leaves(ALL, TWO))
    assert made[MODEL_LEAVES].rate_bps == made[MODEL_LANE].rate_bps
    assert [made[KV_LEAVES + i].rate_bps for i in range(2)] == [LINE // 200] * 2
    assert {made[KV_LEAVES + i].parent for i in range(2)} == {KV_LANE}


def test_model_execution_borrows_first_and_what_no_lane_is_meant_for_last() -> None:
    made = classes(Leaves(TWO, TWO))
    leaves = (MODEL_LEAVES, MODEL_LEAVES + 1, KV_LEAVES, KV_LEAVES + 1, UNCLASSIFIED)
    assert [made[each].priority for each in leaves] == [0, 0, 1, 1, 7]


def test_only_the_root_has_the_links_burst() -> None:
    """Bursts of leaves add up over the leaves: each has one packet's."""
    made = classes(Leaves(TWO, TWO))
    unit = SETTINGS.gso_bytes(LINE) + SETTINGS.mtu
    burst = SETTINGS.link_burst_bytes(LINE)
    assert unit < burst
    assert made.pop(ROOT).burst_ticks == burst_ticks(burst, LINE)
    for each in made.values():
        assert each.burst_ticks == burst_ticks(unit, each.rate_bps)
        assert each.ceil_burst_ticks == burst_ticks(unit, LINE)


def test_a_shaper_without_lanes_has_the_kv_lane_alone() -> None:
    made = classes(Leaves(TWO, TWO), lanes=False)
    assert made.keys() == {ROOT, KV_LANE, UNCLASSIFIED, KV_LEAVES, KV_LEAVES + 1}
    assert made[KV_LANE].rate_bps + made[UNCLASSIFIED].rate_bps == LINE


def test_what_no_filter_takes_goes_to_a_leaf() -> None:
    """An inner class as the default lets it through unshaped."""
    made = shaper_elements("h1", "eth0", LINE, Leaves(ALL, TWO), SETTINGS)
    (shaper,) = (each for each in made if isinstance(each, Shaper))
    parents = {each.parent for each in made if isinstance(each, ShaperClass)}
    assert shaper.default_class == UNCLASSIFIED not in parents


def test_who_shares_a_leaf_is_told_by_the_kv_lanes_leaves() -> None:
    assert leaf_names(Leaves(ALL, TWO)) == {"200": ("a",), "201": ("b", "c")}
