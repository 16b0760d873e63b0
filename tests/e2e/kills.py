"""`testbed run` with a violent end: the supervisor or the command itself is killed midway."""

from __future__ import annotations

import os
import random
import secrets
import subprocess
import sys
import time
from pathlib import Path

from tests.netns.sandbox import bystanders, traces

SCENARIO = """
name: short
topology: {name: 1p1d, set: {gpus: 1}}
scale: {rate: 4000, bytes: 4000}
duration: 3s
calibration: false
engines: network-only
workload: {kind: agentic, trace: 32k, agents: 4}
window: {warm_up: 500ms, warm_up_turns: 0, tolerance: 0.9}
policies: [shorter-queue]
"""
PHASES = ("bring-up", "start", "warm-up", "measure")
_LONGEST_DELAY_S = 0.8
_PATIENCE_S = 60.0


def kill_in_phase(victim: str, phase: str, seed: int, directory: Path) -> None:
    """Kill `victim` ("supervisor", "command") within a second of the beginning of a phase.

    What the command had started is gone then, what it had not lives; a supervisor's end is told
    without a traceback.
    """
    tag = secrets.token_hex(8)
    scenario = directory / "short.yaml"
    scenario.write_text(SCENARIO)
    log = directory / "stderr"
    with bystanders.planted(), log.open("wb") as stderr:
        command = subprocess.Popen(
            [sys.executable, "-m", "testbed.cli.main", "run", str(scenario), "--json"],
            env={**os.environ, "TESTBED_TAG": tag, "PYTHONPATH": traces.python_path()},
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )
        with command:
            wanted = f"shorter-queue: {phase}"
            traces.wait_until(lambda: wanted in log.read_text() or command.poll() is not None)
            assert command.poll() is None, log.read_text()
            # Any moment will do: this is no waiting for something.
            time.sleep(random.Random(seed).uniform(0.0, _LONGEST_DELAY_S))
            if victim == "supervisor":
                traces.kill_init(tag, command)
            else:
                command.kill()
            status = command.wait(_PATIENCE_S)
        assert status != 0
        assert "Traceback" not in log.read_text()
        traces.wait_until_gone(tag)
