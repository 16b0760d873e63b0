"""What a run needs of the machine, and what a machine lets it take."""

from __future__ import annotations

import msgspec
import pytest

from agents.capacity import Background, MachineLimits, TurnWork, collective_cores, machine_need
from agents.caps import Shape, TurnBytes
from agents.costing.costs import GIB, REFERENCE, HopCost, MachineCosts

FREE = MachineCosts(
    (HopCost(1e8, 65536, 0),), (HopCost(1e8, 65536, 0),), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
)
CLUSTER = Shape(2, 4, 8, 100e6, 100e6)


def costs(**given: object) -> MachineCosts:
    return msgspec.structs.replace(FREE, **given)


def cores(
    given: MachineCosts,
    turn: TurnBytes,
    work: TurnWork | None = None,
    *,
    share: float = 1 / 3,
    cluster: Shape = CLUSTER,
    background: Background | None = None,
) -> float:
    """At one turn a second."""
    return machine_need(
        cluster, turn, work or TurnWork(0, -1), background or Background(), 1.0, share, 0.0, given,
        lambda rate_bps: 65536,
    ).cores  # fmt: skip


def test_every_hop_costs() -> None:
    """Hits over an SNIC; over a CNIC into prefill HBM (a share), back (that share), into decode."""
    hit, miss, generated = GIB, 0.25 * GIB, 0.125 * GIB
    turn = TurnBytes(hit, miss, generated)
    snic, cnic = (HopCost(1e8, 65536, 1.0),), (HopCost(1e8, 65536, 1.0),)
    assert cores(costs(snic=snic), turn) == pytest.approx(1 + 0.25 + 0.125)
    # Loaded a·H + (1-a)·H, returned a·H + M, copied H + M, W out.
    assert cores(costs(cnic=cnic), turn) == pytest.approx(1 + 1 / 3 + 0.25 + 1.25 + 0.125)
    assert cores(costs(check_s_per_gib=1.0), turn) == pytest.approx(2 * 1.375)


def test_what_programs_take_is_part_of_it() -> None:
    hop = (HopCost(1e8, 65536, 3.0, 2.0),)
    need = machine_need(
        CLUSTER, TurnBytes(GIB, 0, 0), TurnWork(0, -1), Background(shapers_per_s=100), 1.0, 1 / 3,
        0.0, costs(snic=hop, counter_s=1e-3), lambda _: 65536,
    )  # fmt: skip
    assert need.cores == pytest.approx(3.0 + 0.1)
    assert need.agents_cores == pytest.approx(2.0)


def test_the_busiest_process_has_its_ends_of_hops_and_its_checks() -> None:
    """1P1D: storage sends hits; the prefill node reads them, loads them, and returns them."""
    cluster = Shape(1, 1, 8, 100e6, 100e6)

    def busiest(**given: object) -> float:
        return machine_need(
            cluster, TurnBytes(GIB, 0, 0), TurnWork(0, -1), Background(), 1.0, 1.0, 0.0,
            costs(**given), lambda _: 65536,
        ).process_cores  # fmt: skip

    hop = (HopCost(1e8, 65536, 3.0, 2.0),)
    assert busiest(snic=hop) == pytest.approx(1.0)
    assert busiest(cnic=hop) == pytest.approx(1.0 + 1.0 + 1.0)  # read twice, written once
    assert busiest(check_s_per_gib=1.0) == pytest.approx(1.0)


def test_what_goes_by_pcie_costs_as_a_link_that_is_shaped_at_both_ends() -> None:
    direct = Shape(2, 4, 8, 100e6, 100e6, pcie_bps=200e6)
    turn = TurnBytes(GIB, 0.0, 0.0)
    snic = (HopCost(1e8, 65536, 1.0),)
    # Over an SNIC; a share into prefill HBM, all of it into decode HBM.
    assert cores(costs(snic=snic), turn, cluster=direct) == pytest.approx(1 + 1 / 3 + 1)


def test_messages_timers_tokens_and_counters_cost() -> None:
    nothing = TurnBytes(0, 0, 0)
    work = TurnWork(layer_groups=10, stored_blocks=2, computed_tokens=100, iterations=0.5)
    assert cores(costs(token_s=1e-3), nothing, work) == pytest.approx(0.1)
    assert cores(costs(timer_s=1e-3), nothing, work) == pytest.approx(2 * 10 * 0.5 * 1e-3)
    background = Background(messages_per_s=100, timers_per_s=40, shapers_per_s=50)
    idle = TurnWork(0, -1)  # nothing is put
    found = cores(costs(counter_s=1e-3), nothing, idle, background=background)
    assert found == pytest.approx(50e-3)
    found = cores(costs(timer_s=1e-3), nothing, idle, background=background)
    assert found == pytest.approx(40e-3)


def test_credits_are_messages_of_the_decode_path_only() -> None:
    work = TurnWork(layer_groups=20, stored_blocks=2.75)
    assert work.messages(1.0) == pytest.approx(10 + 3 * 3.75)
    assert work.messages(0.0) == pytest.approx(work.messages(1.0) + 21)


def test_a_busy_decode_engine_waits_for_one_timer_a_step() -> None:
    background = Background(steps_per_s=5.0)
    found = [
        machine_need(
            CLUSTER, TurnBytes(0, 0, 0), TurnWork(0, -1), background, rate, 1.0, 2.0, FREE,
            lambda rate_bps: 65536,
        ).timers_per_s
        for rate in (1.0, 1000.0)
    ]  # fmt: skip
    assert found == [2 * 5.0, 32 * 5.0]  # two are decoded at a time; all 32 engines always decode


def test_what_moves_no_kv_needs_less() -> None:
    turn, work = TurnBytes(1e6, 1e5, 1e4), TurnWork(5, 2)
    moved, not_moved = (
        machine_need(
            CLUSTER, turn, work, Background(), 10, 1.0, 0.0, REFERENCE, lambda _: 65536,
            moves_kv=moves,
        ).cores
        for moves in (True, False)
    )  # fmt: skip
    assert not_moved < moved


def test_collectives_cost_by_their_links_and_messages() -> None:
    given = costs(
        cnic=(HopCost(1e8, 65536, 2.0),), snic=(HopCost(1e8, 65536, 1.0),), operation_s=1e-3
    )
    found = collective_cores(
        given, lambda _: 65536, cnic_bytes_per_s=GIB / 4, cnic_bps=1e8,
        nvlink_bytes_per_s=GIB / 2, nvlink_bps=1e9, messages_per_s=100,
    )  # fmt: skip
    assert found.machine == pytest.approx(0.5 + 0.5 + 0.1)
    assert found.programs == pytest.approx(0.1)


def test_a_run_may_take_its_share_of_the_machine_and_no_more() -> None:
    limits = MachineLimits(cores=2, cpu_share=0.85, memory_bytes=1e9)
    assert limits.carry(1.7, 0.85, 0.8e9)
    assert not limits.carry(1.71, 0.1, 1e6)
    assert not limits.carry(0.1, 0.1, 0.81e9)
    assert not limits.carry(1.0, 0.86, 1e6)  # a process can have one core, however many there are
