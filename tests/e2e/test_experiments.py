"""Experiments as a user types them; and what a JCT-equivalent is worth.

storage ══ pe0 (2 engines) ══ de0 (2 engines) ══ storage
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pytest

from agents.job_time import DUALPATH, job_time_s, read_turns_per_s, whole_jobs
from agents.traces.agentic import TRACES
from testbed.experiment import record, studies
from testbed.experiment.asking import Asking, Runs
from testbed.report.charts import draw
from testbed.results.layout import all_runs
from testbed.results.load import RunData, load

ROOT = Path(__file__).resolve().parents[2]
# Trajectories of 16 to 24 turns, each 128 tokens longer than the one before.
TURNS = [16 + number % 9 for number in range(24)]
OPENING_BLOCKS, APPENDED_BLOCKS = 4, 2
SMALL = {
    "topology.set": "{gpus: 2, s: 0.5}",
    "scale": "{rate: 8000, bytes: 256}",
    # The stretch is 31: engines fetch every 6 ms of emulated time.
    "scheduler.fetch_period": "200us",
    "policies": f"[{DUALPATH}]",
}
WHOLE = {
    "workload.start": "cold",
    "workload.sessions": "one",
    "duration": "10min",
    "window": "{warm_up: 1s, warm_up_turns: 0, tolerance: 0.99}",
}
STEADY = {
    "workload.enter": "steady",
    "duration": "8s",
    "window": "{warm_up: 2s, warm_up_turns: 1, tolerance: 0.5}",
}
AGENTS = 3
OF_A_BUSY_MACHINE = {
    "machine CPU", "counters read throughout", "timer lag", "loop lag",
    "overhead of an idle request", "no packet lost by the machine",
    "steady window",  # of arrivals: four seconds are no steady state
}  # fmt: skip


def trajectories(file: Path) -> Path:
    """A trace of sessions whose contexts only grow."""
    lines = []
    for number, count in enumerate(TURNS):
        turns = []
        for turn in range(count):
            blocks = OPENING_BLOCKS + turn * APPENDED_BLOCKS
            hit = 64 * (blocks - APPENDED_BLOCKS) if turn else 0
            turns.append({"t": 0, "in": 64 * blocks + 1, "out": 1, "hit": hit, "h": [[0, blocks]]})
        lines.append(json.dumps({"id": f"s{number}", "block_size": 64, "turns": turns}))
    file.write_text("\n".join(lines))
    return file


def run(out: Path, trace: Path, changes: dict[str, str]) -> RunData:
    agents = {"kind": "sessions", "file": str(trace), "agents": len(TURNS)}
    load_of_it = {f"workload.{key}": str(value) for key, value in agents.items()}
    asked = record.load("demo", {**SMALL, "workload": "{}", **load_of_it, **changes})
    return load(record.execute(asked, out, ["test"], lambda _: None).path)


def test_a_jct_equivalent_is_what_whole_trajectories_take(tmp_path: Path) -> None:
    trace = trajectories(tmp_path / "trace.jsonl")
    whole, steady = run(tmp_path, trace, WHOLE), run(tmp_path, trace, STEADY)
    sessions = whole.table("sessions")
    assert sorted(sessions["turns"].to_list()) == sorted(TURNS)
    assert sessions["from_first_turn"].all()
    took_s = sessions["t_end"].to_numpy().max() - sessions["t_start"].to_numpy().min()
    turns_per_s = read_turns_per_s(steady, DUALPATH)
    assert turns_per_s is not None
    assert abs(sum(TURNS) / turns_per_s.value / took_s - 1) <= 0.05


def test_the_cheapest_network_study_ends_with_its_table_figures_and_page(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "testbed.cli.main", "experiment", "noisy_neighbour"]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [*command, "--quick", "--json", "--accept-unfaithful"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
        timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    (study,) = told["experiments"]
    # A busy machine may make the verdict FAIL; nothing may be dropped or unclassified all the same.
    reasons = [reason for each in study["evidence"] for reason in each["reasons"]]
    assert not [reason for reason in reasons if "drop" in reason or "unclassified" in reason]
    assert len(study["evidence"]) == 6
    inside = dict(zip([row["what"] for row in study["rows"]], study["inside"], strict=True))
    assert inside["4 KiB: one lane / idle"] == "yes"
    place = tmp_path / told["set"]
    assert {file.suffix for file in (place / "noisy_neighbour").iterdir()} == {
        ".json", ".md", ".svg", ".pdf",
    }  # fmt: skip
    assert "one lane / idle" in (tmp_path / told["page"]).read_text()


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
