"""What a run needs of the machine, and refusals that say what would fit."""

from __future__ import annotations

import pytest

from agents.capacity import (
    CpuCosts,
    MachineNeed,
    TurnWork,
    check_machine,
    cores_needed,
    least_rate_factor,
)
from agents.caps import Shape, TurnBytes
from testbed.errors import CapacityError

GIB = 2**30


def test_shaper_costs_between_the_measured_rates() -> None:
    costs = CpuCosts()
    assert costs.shaper_at(100e6) == pytest.approx(1.1)
    assert costs.shaper_at(500e6) == pytest.approx(0.5)
    assert costs.shaper_at(2e9) == pytest.approx(0.4)
    assert 0.5 < costs.shaper_at(200e6) < 1.1
    assert costs.shaper_at(1e6) == costs.shaper_at(100e6)


def test_every_crossing_costs() -> None:
    # 2P4D, 600 Mbit from storage, a third of it on the prefill side; no other cost than shapers:
    # two for the SNIC, and (2a + 1 + 2 - a + 1 + a) for the CNICs.
    cluster = Shape(2, 4, 8, 100e6, 100e6)
    shapers = CpuCosts({100e6: 1.0}, payload_s_per_gib=0, check_s_per_gib=0, operation_s=0)
    turn = TurnBytes(GIB, 0, 0)
    found = cores_needed(cluster, turn, TurnWork(0, 0), 1.0, 1 / 3, shapers)
    assert found == pytest.approx(2 + 4 + 2 / 3)


def test_the_prototypes_load_is_foreseen() -> None:
    # The throw-away prototype, without checks: 0.75 cores at 600 Mbit on 2P4D.
    cluster = Shape(2, 4, 8, 100e6, 100e6)
    costs = CpuCosts(check_s_per_gib=0, operation_s=0)
    turn = TurnBytes(1.5e6, 0, 0)
    found = cores_needed(cluster, turn, TurnWork(8, 0), 600e6 / 8 / 1.5e6, 1 / 3, costs)
    assert found == pytest.approx(0.75, abs=0.15)


def test_the_least_factor_is_enough_and_not_much_more() -> None:
    factor = least_rate_factor(lambda f: 10 / f, 1.7)
    assert factor == pytest.approx(5.9)
    assert least_rate_factor(lambda f: 1 / f, 1.7) == 1.0
    assert least_rate_factor(lambda f: 5.0, 1.7) is None


def check(cores_needed: float = 1.0, memory_bytes: float = 1e9) -> None:
    check_machine(
        MachineNeed(cores_needed, memory_bytes, 100.0),
        cores=2,
        cpu_share=0.85,
        memory_bytes=4e9,
        cores_at=lambda factor: cores_needed / factor,
        rate_scale=1000.0,
        bytes_scale=500.0,
    )


def test_what_fits_passes() -> None:
    check()
    check(cores_needed=1.69, memory_bytes=3.1e9)


def test_too_much_cpu_is_refused_with_a_scale_that_fits() -> None:
    with pytest.raises(CapacityError) as caught:
        check(cores_needed=3.4)
    assert "3.4 cores busy" in caught.value.message
    assert caught.value.hint == "set scale.rate to 2000 or more, or use fewer nodes"


def test_too_much_memory_is_refused_with_a_scale_that_fits() -> None:
    with pytest.raises(CapacityError) as caught:
        check(memory_bytes=6.4e9)
    assert caught.value.hint == "set scale.bytes to 1000 or more, or use fewer agents"


def test_where_rates_do_not_help_something_else_is_proposed() -> None:
    with pytest.raises(CapacityError, match=r"no scale\.rate is enough"):
        check_machine(
            MachineNeed(9.0, 0, 0),
            cores=2,
            cpu_share=0.85,
            memory_bytes=1e9,
            cores_at=lambda factor: 9.0,
            rate_scale=1.0,
            bytes_scale=1.0,
        )
