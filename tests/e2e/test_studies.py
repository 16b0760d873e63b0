"""Modelled studies of larger sizes, from small runs.

storage ══ pe0 (1 engine) ══ de0 (1 engine) ══ storage
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pytest

from agents.job_time import DUALPATH, job_time_s, whole_jobs
from agents.traces.agentic import TRACES
from testbed.experiment import studies
from testbed.experiment.asking import Asking, Runs
from testbed.report.charts import draw
from testbed.results.layout import all_runs
from testbed.results.load import RunData, load

pytestmark = pytest.mark.xdist_group("studies")  # they share two runs of all policies

AGENTS = 3
OF_A_BUSY_MACHINE = {
    "machine CPU", "counters read throughout", "timer lag", "loop lag",
    "overhead of an idle request", "no packet lost by the machine",
    "steady window",  # of arrivals: four seconds are no steady state
}  # fmt: skip


class Reduced(Asking):
    """Asks for the scenarios of larger sizes, and is given small ones: whole jobs, or arrivals."""

    def __init__(self, name: str, runs: Runs) -> None:
        super().__init__(name, "medium", runs, 1)
        self.asked: list[dict[str, object]] = []

    def runs(
        self,
        scenario: str,
        changes: Mapping[str, object] | None = None,
        *,
        repeat: int | None = None,
    ) -> list[RunData]:
        assert scenario == "2p4d-small" and changes is not None
        self.asked.append(dict(changes))
        kept = {"enter", "start", "sessions", "every", "arrivals"}
        smaller = {
            "topology": {"name": "1p1d", "set": {"gpus": 1, "s": 0.5}},
            "workload.trace": "32k",
            "workload.generation_scale": 0.05,
            "calibration": False,
            "window": changes.get("window", {"warm_up": "1s", "warm_up_turns": 0}),
            **{f"workload.{key}": changes[f"workload.{key}"] for key in kept
               if f"workload.{key}" in changes},
        }  # fmt: skip
        if "workload.arrivals" in smaller:
            smaller |= {
                "workload.agents": "auto",
                "workload.arrivals": {"rate": "0.02/s"},
                "duration": "4s",
                "window.tolerance": 0.99,
                "policies": ["basic", DUALPATH],
            }
        else:
            smaller |= {"duration": changes["duration"], "workload.agents": AGENTS}
        return super().runs(scenario, smaller, repeat=1)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("runs"), ["test"], lambda _: None)


@pytest.mark.timeout(300)  # two runs of all policies
@pytest.mark.parametrize(
    "name",
    ["fig7_offline", "fig9_append_generation", "fig10_online", "fig11_jct_aps", "fig12_ablation",
     "fig12_breakdown"],
)  # fmt: skip
def test_modelled_studies_of_larger_sizes_have_an_answer(
    name: str, runs: Runs, tmp_path: Path
) -> None:
    """All of them from two small runs: every 8th turn of whole jobs, and arrivals."""
    ask = Reduced(name, runs)
    answer = studies.find(name).study.answer(ask)
    # A busy machine may meet no SLO at all; of one job nobody knows whether a step is chance.
    may_be = ("SLO", "the step is")
    silent = [row.what for row in answer.rows
              if row.measured is None and not any(word in row.what for word in may_be)]  # fmt: skip
    assert ask.asked and answer.rows and not silent
    assert {file.suffix for file in draw(answer.charts, tmp_path)} == {".svg", ".pdf"}
    # A busy machine may make the verdict FAIL; nothing else may.
    for path in all_runs(runs.directory):
        failed = {check.name for check in load(path).verdict.checks if not check.ok}
        assert failed <= OF_A_BUSY_MACHINE


def test_every_eighth_turn_of_a_job_takes_an_eighth_of_the_turns(runs: Runs) -> None:
    (run,) = Reduced("any", runs).runs("2p4d-small", whole_jobs("medium"))
    sessions = run.table("sessions").filter(pl.col("policy") == DUALPATH)
    assert len(sessions) == AGENTS and sessions["from_first_turn"].all()
    assert abs(sum(sessions["turns"]) * 8 / AGENTS / TRACES["32k"].turns - 1) < 0.3
    took_s = job_time_s(run, DUALPATH, "medium", AGENTS, "64k")
    spent_s = sessions["t_end"].max() - sessions["t_start"].min()
    stretch = run.run["comparison"]["scale"]["stretch"]
    assert took_s is not None and took_s.value == pytest.approx(8 * spent_s / stretch)
