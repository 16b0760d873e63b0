"""`testbed predict` and `testbed costs` as a user types them, and a run beside its prediction.

storage ══ pe0 (1 engine) ══ de0 (1 engine) ══ storage
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agents.costing.links import Programs, carried, line_of, storage_reads
from testbed.lab import Lab
from testbed.plan.compile import PlanSettings
from tests.e2e.small import small_demo
from topologies.dualpath import DualPathTopo

ROOT = Path(__file__).resolve().parents[2]


def command(*arguments: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run the command of this checkout."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-P", "-m", "testbed.cli.main", *arguments],
        cwd=directory, env={**os.environ, "PYTHONPATH": path}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip


def predict(*arguments: str, directory: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    _, *rest = small_demo(*arguments, **changes)
    return command("predict", *rest, directory=directory)


@pytest.mark.user
def test_a_prediction_says_what_binds_and_leaves_nothing(tmp_path: Path) -> None:
    done = predict("--json", directory=tmp_path)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["refusal"] is None
    foreseen = found["predicted"]
    foreseen_nics = {f"{side}-cnic-{way}" for side in ("pe", "de") for way in ("read", "write")}
    assert foreseen["costs"]["of"] == "this machine"
    for policy in foreseen["policies"].values():
        assert policy["bound_by"] in foreseen_nics and policy["binds"] == "cnics"
        assert 0 < policy["cores"] < foreseen["cores_allowed"]
        assert policy["messages_per_s"] > 0 and policy["timers_per_s"] > 0
        assert policy["length_s"] > 2.5, "the window, and the warm-up before it"
    assert foreseen["caps_turns_per_s"]["best-split"] >= max(
        policy["turns_per_s"] for policy in foreseen["policies"].values()
    ) * (1 - 1e-9)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.user
def test_what_cannot_be_carried_is_refused_with_a_scale_that_can(tmp_path: Path) -> None:
    refused = predict("--json", directory=tmp_path, scale__rate="20", scale__bytes="10")
    assert refused.returncode == 8
    found = json.loads(refused.stdout)
    assert found["predicted"]["cores"] > found["predicted"]["cores_allowed"]
    hint = found["refusal"]["hint"]
    assert hint in refused.stderr
    scale = dict(part.split("=") for part in hint.replace(",", " ").split() if "=" in part)
    carried = predict(
        "--json", directory=tmp_path,
        scale__rate=scale["scale.rate"], scale__bytes=scale["scale.bytes"].rstrip(";"),
    )  # fmt: skip
    assert carried.returncode == 0, carried.stderr
    cores = json.loads(carried.stdout)["predicted"]["cores"]
    assert 0.5 * found["predicted"]["cores_allowed"] < cores


def test_a_run_shows_predicted_beside_measured(tmp_path: Path) -> None:
    done = command(*small_demo("--json", "--accept-unfaithful"), directory=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    (run,) = (path for path in (tmp_path / "runs").iterdir() if not path.is_symlink())
    kept = json.loads((run / "run.json").read_text())
    assert kept["comparison"]["predicted_measured"] == found["predicted_measured"]
    for policy, figures in found["predicted_measured"].items():
        assert set(figures) == {
            "turns_per_s", "kv_load_bps", "bound_by", "binds", "speedup", "cores", "agents_cores",
            "process_cores",
            "memory_bytes", "messages_per_s", "timers_per_s", "bring_up_s", "ready_s", "warm_up_s",
            "window_length_s", "drain_s", "length_s",
        }  # fmt: skip
        for name, pair in figures.items():
            assert pair["measured"] is not None, (policy, name)
        binds = figures["binds"]
        assert binds["same"] == (binds["predicted"] == binds["measured"])
        # What does not depend on how busy the machine is.
        assert figures["window_length_s"]["measured"] == pytest.approx(2, abs=0.6)
        assert 0.5 < 1 + figures["messages_per_s"]["error"] < 2
        assert 0.5 < 1 + figures["timers_per_s"]["error"] < 2
    assert kept["predicted"]["policies"]["pe-only"]["cores"] > 0


def test_costs_are_shown_with_their_age(tmp_path: Path) -> None:
    done = command("costs", directory=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "CPU-s/GiB" in done.stdout
    # When the session began; the clock of a slow machine goes on.
    assert re.search(r"measured 0\.\d hours ago on this machine", done.stdout)


def test_a_load_of_the_measurement_fills_its_links_and_costs_something() -> None:
    # st0 ══ pe0, de0 at 100 Mbit
    topology = DualPathTopo(prefill=1, decode=1, gpus=1, cnic_mbit=100.0)
    with Lab(topology, settings=PlanSettings(gso_max_bytes=65536)) as lab:
        with storage_reads(lab) as load:
            assert load.links == ["pe0/snic0 in", "de0/snic0 in"]
            began_s, before = carried(lab, load.links)
            # Half a second at half of the lines' rate, or it is not a load.
            while True:
                now_s, after = carried(lab, load.links)
                if after - before > 2 * 100e6 / 8 * 0.25:
                    break
            assert now_s - began_s < 10
            assert 0 < load.programs.cpu_s() < 2 * (now_s - began_s) + 2
        with Programs(lab) as programs:
            peers = [f"{name}={lab[name].addresses['mgmt']}" for name in ("client", "sched")]
            both = [
                programs.start(
                    "agents.costing.chatter", name, "--name", name, "--peers", *peers,
                    "--questions", "200",
                )
                for name in ("client", "sched")
            ]  # fmt: skip
            assert [line_of(process) for process in both] == ["ready", "ready"]
            for process in both:
                costs = json.loads(line_of(process))
                assert 1e-6 < costs["operation_s"] < 1e-2
                assert 1e-6 < costs["timer_s"] < 1e-2
                assert costs["private_bytes"] > 1 << 20
