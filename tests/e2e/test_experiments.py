"""Experiments as a user types them; and what a JCT-equivalent is worth.

storage ══ pe0 (2 engines) ══ de0 (2 engines) ══ storage
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from agents.job_time import DUALPATH, read_turns_per_s
from testbed.experiment import record
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
    "calibration": "false",
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
