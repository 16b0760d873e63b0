"""What a run recorded: of which requests, and of which NICs, something can be said."""

from __future__ import annotations

from agents.recorded import Run
from agents.records import EventRecord, RequestRecord
from agents.settings import DualPathScenario
from testbed.plan.model import Plan
from tests.unit.agents.test_fidelity_checks import plan, request, scenario

__all__ = ["plan", "scenario"]


def test_what_happened_in_the_window_did_so_before_it_closed(
    scenario: DualPathScenario, plan: Plan
) -> None:
    requests = [request(request=n, t_done=at) for n, at in enumerate((0.9, 1.0, 1.9, 2.0))]
    requests.append(request(request=9, t_done=1.5, error="lost"))
    records = {RequestRecord: requests}
    run = Run(scenario, plan, "pe-only", records, [[]], {"open_s": 1.0, "close_s": 2.0})
    assert [r.request for r in run.in_window(requests, "t_done")] == [1, 2]


def test_no_account_is_kept_of_the_nics_of_lost_nodes_and_of_no_others(
    scenario: DualPathScenario, plan: Plan
) -> None:
    lost = EventRecord("sched", 1.0, "node-lost", 0, "de0: not a word for 5s")
    run = Run(scenario, plan, "pe-only", {EventRecord: [lost]}, [[]], {})
    assert run.lost == ["de0"]
    nics = {nic for nic, _ in run.unaccounted()}
    assert nics == {m.nic for m in plan.meters if m.node == "de0"}
    assert "de0/snic0" in nics and "pe0/snic0" not in nics
