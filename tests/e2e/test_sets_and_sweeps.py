"""Several runs: a set by `run --repeat` and a sweep, both killed, interrupted and finished.

storage ══ pe0 (1 engine) ══ de0 (1 engine) ══ storage
"""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl

from testbed.results.layout import all_runs
from testbed.results.sets import load_set
from tests.e2e.test_run_command import await_line, command, environment, started

__all__ = ["environment"]  # a fixture

QUICK = {"duration": "1s", "window__warm_up": "500ms"}
SWEEP = """\
name: agents
scenario: demo
set:
  topology.set.gpus: 1
  scale: {rate: 4000, bytes: 4000}
  workload.trace: 32k
  duration: 1s
  window: {warm_up: 500ms, warm_up_turns: 0, tolerance: 0.9}
  policies: [pe-only]
  calibration: false
grid:
  workload.agents: [2, 4]
"""

STUDY = '''"""Two runs of one scenario.  Expect two."""
from testbed.experiment.estimates import exactly
from testbed.experiment.study import Answer, Expected, Minutes, Row, Study
from testbed.results.charts import Chart, Series

CHANGES = {
    "topology.set": {"gpus": 1}, "scale": {"rate": 4000, "bytes": 4000}, "workload.trace": "32k",
    "workload.agents": 2, "duration": "1s", "policies": ["pe-only"], "calibration": False,
    "window": {"warm_up": "500ms", "warm_up_turns": 0, "tolerance": 0.9},
}


def answer(ask):
    runs = exactly(len(ask.runs("demo", CHANGES)))
    chart = Chart("runs", "Runs", "", "number", [Series("demo", ["1p1d"], [runs])])
    return Answer([Row("runs", runs, Expected(2, 2))], [chart])


STUDY = Study("How many?", "a test", Minutes(1, 1, 1), answer)
'''


def cli(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "testbed.cli.main", *arguments]


def told(arguments: list[str], directory: Path, environment: dict[str, str]) -> dict[str, Any]:
    """The object that a command prints."""
    ended = subprocess.run(
        arguments, cwd=directory, env=environment, capture_output=True, text=True, check=False,
        timeout=110,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def test_a_scenario_is_repeated_in_spite_of_a_crash_compared_and_exported(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    wanted = command("--repeat", "2", "--json", "--accept-unfaithful", **QUICK)
    with started(wanted, tmp_path, environment) as process:
        await_line(process, "run 1 of 2: repeat 1")
        await_line(process, "shorter-queue: collect")
        await_line(process, "shorter-queue: measure")  # of the second run
        process.kill()
        process.communicate(timeout=60)
    latest = (tmp_path / "runs" / "latest").resolve()
    (first,) = all_runs(latest)
    written_s = (first / "run.json").stat().st_mtime

    found = told([*wanted, "--into", "latest"], tmp_path, environment)
    assert Path(found["set"]).resolve() == latest
    assert len(all_runs(latest)) == 2
    assert (first / "run.json").stat().st_mtime == written_s
    made = load_set(tmp_path / found["set"])
    assert made.asked == len(made.runs) == 2
    assert len(set(made.seeds)) == 2
    assert [run.run["order"] for run in made.runs] == [
        ["pe-only", "shorter-queue"], ["shorter-queue", "pe-only"],
    ]  # fmt: skip
    for run in made.runs:  # whatever ran first, the first policy is the baseline
        assert list(run.policies) == ["pe-only", "shorter-queue"]
        assert run.run["comparison"]["speedup"]["pe-only"]["kv_load_bps"] == 1.0
    cell = found["metrics"]["kv_load_bps"]["shorter-queue"]
    assert cell["low"] <= cell["value"] <= cell["high"]
    assert (cell["count"], cell["confidence"], cell["paired"]) == (2, 0.5, True)
    assert cell["significant"] is None  # two runs cannot tell

    compared = told(
        cli("compare", "latest", "--json", "--accept-unfaithful"), tmp_path, environment
    )
    assert compared["metrics"] == found["metrics"]
    figures = {file.name for file in (tmp_path / compared["figures"] / "figures").iterdir()}
    assert figures == {
        f"{name}.{kind}" for name in ("metrics", "first_token", "nic_rates")
        for kind in ("svg", "pdf")
    }  # fmt: skip
    exported = told(
        cli("export", "latest", "--table", "requests", "--to", "out", "--json"),
        tmp_path,
        environment,
    )
    with (tmp_path / exported["files"][0]).open() as file:
        assert {row["run"] for row in csv.DictReader(file)} == {run.path.name for run in made.runs}


def test_a_sweep_goes_on_after_a_crash_and_after_ctrl_c_and_runs_nothing_twice(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    sweep = cli("sweep", "sweep.yaml", "--json", "--accept-unfaithful")
    place = tmp_path / "runs" / "agents"

    def complete() -> set[Path]:
        return {run for point in place.iterdir() for run in all_runs(point)}

    with started(sweep, tmp_path, environment) as process:
        await_line(process, "run 1 of 2: agents=2, repeat 1")
        await_line(process, "pe-only: measure")
        process.kill()
        process.communicate(timeout=60)
    assert complete() == set()

    with started(sweep, tmp_path, environment) as process:
        await_line(process, "run 1 of 2: agents=2, repeat 1")
        await_line(process, "pe-only: measure")
        await_line(process, "pe-only: measure")  # of the second run
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "1 of 2 runs of the sweep" in json.loads(out)["error"]["hint"]
    (first, *interrupted) = sorted(complete())
    assert "agents=2" in first.parent.name
    written_s = (first / "run.json").stat().st_mtime

    found = told(sweep, tmp_path, environment)
    assert (found["points"], found["runs"], found["failed"]) == (2, 2, {})
    made = complete() - set(interrupted)
    assert len(made) == 2 and first in made
    assert (first / "run.json").stat().st_mtime == written_s
    table = pl.read_parquet(tmp_path / found["table"])
    assert table["workload.agents"].to_list() == [2, 4]
    assert table["kv_load_bps"].min() > 0
    assert (place / "figures" / "multiples.svg").is_file()

    assert told(sweep, tmp_path, environment)["runs"] == 2
    assert complete() - set(interrupted) == made


def test_experiments_go_on_after_a_crash_and_run_nothing_twice(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "mine.py").write_text(STUDY)
    asked = cli("experiment", "mine.py", "--quick", "--repeat", "2", "--into", "night", "--json",
                "--accept-unfaithful")  # fmt: skip
    runs = tmp_path / "night" / "runs"
    with started(asked, tmp_path, environment) as process:
        await_line(process, "pe-only: collect")
        await_line(process, "pe-only: measure")  # of the second run
        process.kill()
        process.communicate(timeout=60)
    (first,) = all_runs(runs)
    written_s = (first / "run.json").stat().st_mtime
    assert not (tmp_path / "night" / "index.html").exists()

    for _ in range(2):  # the second time there is nothing left to run
        (study,) = told(asked, tmp_path, environment)["experiments"]
        assert study["inside"] == ["yes"] and not study["failed"]
        assert len(all_runs(runs)) == 2 and len(study["evidence"]) == 2
        assert (first / "run.json").stat().st_mtime == written_s
    assert "mine" in (tmp_path / "night" / "index.html").read_text()
    assert (tmp_path / "night" / "mine" / "runs.svg").is_file()
