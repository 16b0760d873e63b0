"""Profiling, apart from the runs: who can be profiled, and which verdicts count."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from testbed.errors import UnfaithfulError, UsageError
from testbed.experiment import profile as profiling
from testbed.experiment.profile import Profile, profile
from testbed.experiment.record import Asked, Finished
from testbed.experiment.runner import Ran
from testbed.experiment.scenario import Scenario, TopologyChoice
from testbed.experiment.workload import Outcome
from testbed.fidelity.checks import Check
from testbed.fidelity.verdict import judge
from testbed.plan.model import Plan

SCENARIO = Scenario(name="tiny", topology=TopologyChoice(name="single"), duration=1.0)


class Two:
    """A workload whose profile is the sum of what two runs say."""

    def profile_runs(self, scenario: Scenario) -> Mapping[str, Scenario]:
        """One of each name."""
        return {n: scenario.model_copy(update={"name": f"tiny-{n}"}) for n in ("a", "b")}

    def profile(self, scenario: Scenario, outcomes: Mapping[str, Outcome]) -> Profile:
        """The sum."""
        total = sum(outcome.summary["seen"] for outcome in outcomes.values())
        return Profile({"total": total}, [f"total {total}"])


@pytest.fixture
def _runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a, seen 1, is fine; run b, seen 2, is not."""

    def instead(asked: Asked, out: Path, argv: Any, report: Any) -> Finished:
        fine = asked.scenario.name == "tiny-a"
        outcome = Outcome({"seen": 1 if fine else 2}, {}, None, [], {})
        verdict = judge([Check("no drop", "v", fine, "3", "0", "queues")], interrupted=False)
        ran = Ran(
            Plan(frozenset(), "single"), {}, {"v": outcome}, {}, verdict, {}, {}, {}, {}, False
        )
        return Finished(out / asked.scenario.name, ran)

    monkeypatch.setattr(profiling, "execute", instead)


@pytest.mark.usefixtures("_runs")
def test_a_profile_is_of_all_its_runs_and_no_better_than_the_worst(tmp_path: Path) -> None:
    found = profile(Asked(SCENARIO, Two()), tmp_path, [], lambda _: None)  # type: ignore[arg-type]
    told = found.as_json()
    assert told["total"] == 3
    assert [run["verdict"] for run in told["runs"]] == ["PASS", "FAIL"]
    assert found.lines()[-1] == "total 3"
    with pytest.raises(UnfaithfulError, match="tiny-b"):
        found.judge()
    found.judge(accept_unfaithful=True)


def test_a_workload_without_a_profile_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to profile"):
        profile(Asked(SCENARIO, object()), tmp_path, [], lambda _: None)  # type: ignore[arg-type]
