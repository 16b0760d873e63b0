"""What a load cost, from what processors did."""

from __future__ import annotations

import pytest

from agents.costing.costs import GIB
from agents.costing.links import link_cost
from testbed.fidelity.processors import CpuSpent

IDLE = CpuSpent(wall_s=0.5, processors=2, busy=0.1, softirq=0.05, steal=0.02)


def test_softirqs_beyond_those_of_the_idle_cluster_are_the_loads() -> None:
    loaded = CpuSpent(wall_s=1.0, processors=2, busy=1.2, softirq=0.4, steal=0.0)
    found = link_cost(GIB // 2, 0.6, loaded, IDLE, IDLE)
    assert found.programs_s_per_gib == pytest.approx(1.2)
    assert found.s_per_gib == pytest.approx(2 * (0.6 + 0.4 - 0.1))
    assert found.other_cores == pytest.approx(0.16)
    assert found.spread == 0.0


def test_packets_of_others_on_one_side_only_are_a_spread() -> None:
    loaded = CpuSpent(wall_s=1.0, processors=2, busy=1.2, softirq=0.3, steal=0.0)
    found = link_cost(GIB, 0.6, loaded, IDLE, IDLE._replace(softirq=0.15))
    assert found.s_per_gib == pytest.approx(0.6 + 0.3 - 0.2)
    assert found.spread == pytest.approx(0.2 / 0.7)


def test_a_load_never_costs_less_than_its_programs() -> None:
    loaded = CpuSpent(wall_s=1.0, processors=2, busy=0.7, softirq=0.0, steal=0.0)
    assert link_cost(GIB, 0.6, loaded, IDLE, IDLE).s_per_gib == pytest.approx(0.6)
