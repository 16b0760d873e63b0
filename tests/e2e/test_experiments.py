"""Experiments as a user types them; and what a JCT-equivalent is worth.

storage ══ pe0 (2 engines) ══ de0 (2 engines) ══ storage
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from agents.job_time import DUALPATH, read_turns_per_s
from agents.traces.agentic import agentic_trace
from testbed.experiment import record
from testbed.results.load import RunData, load

ROOT = Path(__file__).resolve().parents[2]
AGENTS = 40
TRACE: dict[str, Any] = {"append_scale": 0.1, "generation_scale": 0.1, "max_context_tokens": 1200}
SMALL = {
    "topology.set": "{gpus: 2, s: 0.5}",
    "scale": "{rate: 8000, bytes: 128}",
    "workload.trace": "32k",
    "workload.append_scale": "0.1",
    "workload.generation_scale": "0.1",
    "workload.max_context": "1200",
    "workload.agents": str(AGENTS),
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


def run(out: Path, changes: dict[str, str]) -> RunData:
    asked = record.load("demo", SMALL | changes)
    return load(record.execute(asked, out, ["test"], lambda _: None).path)


def test_a_jct_equivalent_is_what_whole_trajectories_take(tmp_path: Path) -> None:
    whole, steady = run(tmp_path, WHOLE), run(tmp_path, STEADY)
    trace = agentic_trace("32k", whole.run["seed"], **TRACE)
    turns = [len(trace.session(number).turns) for number in range(AGENTS)]
    sessions = whole.table("sessions")
    assert sorted(sessions["turns"].to_list()) == sorted(turns)
    assert sessions["from_first_turn"].all()
    took_s = sessions["t_end"].to_numpy().max() - sessions["t_start"].to_numpy().min()
    turns_per_s = read_turns_per_s(steady, DUALPATH)
    assert turns_per_s is not None
    assert abs(sum(turns) / turns_per_s.value / took_s - 1) <= 0.05


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
        ".json", ".svg", ".pdf",
    }  # fmt: skip
    assert "one lane / idle" in (tmp_path / told["page"]).read_text()
