"""Large plans are foreseen, and refused before they eat the machine."""

from __future__ import annotations

import pytest

from testbed.errors import CapacityError
from testbed.plan.compile import compile_plan
from testbed.plan.footprint import check_footprint, footprint
from testbed.plan.model import counts
from topologies.single import SingleTopo


def test_a_footprint_counts_every_object() -> None:
    plan = compile_plan(SingleTopo(4, 100.0))
    assert footprint(plan).objects == counts(plan).total()


def test_more_hosts_cost_more() -> None:
    small, large = (footprint(compile_plan(SingleTopo(k, 100.0))) for k in (2, 8))
    assert small.memory_bytes < large.memory_bytes
    assert small.bring_up_s < large.bring_up_s


def test_what_does_not_fit_is_refused_with_a_way_out() -> None:
    found = footprint(compile_plan(SingleTopo(4, 100.0)))
    check_footprint(found, 2.0 * found.memory_bytes)
    with pytest.raises(CapacityError) as refused:
        check_footprint(found, 1.9 * found.memory_bytes)
    assert "leaves" in refused.value.hint
