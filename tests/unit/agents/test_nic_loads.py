"""Shares of a run, from the transfers and requests of its window."""

from __future__ import annotations

import pytest

from agents.binding import read_queues_empty_s
from agents.nic_loads import nic_loads, shares
from agents.recorded import Run
from agents.records import RequestRecord, TransferRecord
from agents.settings import DualPathScenario
from testbed.plan.model import Plan
from tests.unit.agents.test_fidelity_checks import plan, request, saturated, scenario

__all__ = ["plan", "scenario"]


def run_of(scenario: DualPathScenario, plan: Plan, *transfers: TransferRecord) -> Run:
    served = [
        request(request=7, served_as=7, t_first_token=5.0, prompt_tokens=120, hit_tokens=100),
        request(request=8, served_as=8, t_first_token=11.0, prompt_tokens=500, hit_tokens=0),
    ]
    records = {RequestRecord: served, TransferRecord: list(transfers)}
    return Run(scenario, plan, "pe-only", records, [[]], {"open_s": 0.0, "close_s": 10.0})


def moved(kind: str, source: str, target: str, size: int, first_s: float = 4.0) -> TransferRecord:
    return TransferRecord(7, kind, "pe", source, target, 0, 1, size, first_s, first_s + 2)


def test_shares_are_over_the_bytes_that_were_read(scenario: DualPathScenario, plan: Plan) -> None:
    found = shares(
        run_of(
            scenario,
            plan,
            moved("storage_read", "st0", "pe0", 600),
            moved("storage_read", "st0", "de0", 300),
            moved("storage_read", "st0", "de0", 200, 9.0),  # half of it after the window
            moved("d2h", "de0g0", "de0", 50),
            moved("storage_write", "de0", "st0", 40),
        )
    )
    assert found is not None
    assert found.prefill == pytest.approx(0.6)
    assert found.miss == pytest.approx(0.2)
    assert found.generated == pytest.approx(0.05)
    assert found.written == pytest.approx(0.04)


def test_all_reads_on_one_side_are_a_share_of_exactly_one(
    scenario: DualPathScenario, plan: Plan
) -> None:
    found = shares(saturated(scenario, plan))
    assert found is not None and found.prefill == 1.0


def test_the_formulae_say_nothing_of_what_came_from_caches(
    scenario: DualPathScenario, plan: Plan
) -> None:
    run = saturated(scenario, plan)
    assert nic_loads(run)
    run.of(TransferRecord).append(
        TransferRecord(3, "peer_copy", "peer", "de0", "de0", 0, 0, 1, 1.0, 1.1)
    )
    again = Run(scenario, plan, "pe-only", run.records, run.samples, run.fields)
    assert nic_loads(again) == []


def test_only_nodes_that_may_read_have_queues(scenario: DualPathScenario, plan: Plan) -> None:
    assert read_queues_empty_s(saturated(scenario, plan)).keys() == {"pe0"}
