"""Processes that fail in the middle of a run: the cause is blamed, in words, with its status.

storage ══ pe0 (1 engine) ══ de0 (1 engine) ══ storage
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from agents.settings import DualPathScenario
from agents.workload import DualPath
from testbed.errors import ProgramError, ScenarioError
from testbed.experiment import runner
from testbed.experiment.runner import Progress
from testbed.experiment.scenario import load_scenario

POLICY = """
class Policy:
    def choose(self, request, prefill, decode):
        {body}
"""
SCENARIO = """
name: failing
topology: {{name: 1p1d, set: {{gpus: 1}}}}
scale: {{rate: 4000, bytes: 4000}}
duration: 3s
calibration: false
engines: network-only
workload: {{kind: agentic, trace: 32k, agents: 2}}
window: {{warm_up: 1s, warm_up_turns: 0}}
policies: ["{policy}"]
"""


def scenario(policy: str) -> DualPathScenario:
    return load_scenario(SCENARIO.format(policy=policy), DualPathScenario)


def user_policy(directory: Path, body: str) -> DualPathScenario:
    (directory / "mine.py").write_text(POLICY.format(body=body))
    return scenario(f"{directory}/mine.py:Policy")


def test_a_policy_that_chooses_nonsense_is_a_mistake_of_the_scenario(tmp_path: Path) -> None:
    asked = user_policy(tmp_path, 'return "left"')
    with pytest.raises(ScenarioError) as failure:
        runner.run(asked, DualPath(), tmp_path / "run", lambda progress: None)
    assert failure.value.message.startswith("sched: the read-path policy")
    assert "chose 'left'" in failure.value.message
    assert 'must return "pe", "de"' in failure.value.hint
    (log,) = (tmp_path / "run").rglob("sched.log")
    assert "Traceback" not in log.read_text()


def test_a_policy_that_raises_is_named_with_its_line(tmp_path: Path) -> None:
    asked = user_policy(tmp_path, "return 1 / 0")
    with pytest.raises(ProgramError) as failure:
        runner.run(asked, DualPath(), tmp_path / "run", lambda progress: None)
    assert failure.value.message.startswith("sched: ZeroDivisionError: division by zero (")
    assert f"{tmp_path}/mine.py:4, in choose" in failure.value.message
    (log,) = (tmp_path / "run").rglob("sched.log")
    assert "Traceback" in log.read_text()
    assert str(log) in failure.value.hint


def test_a_process_that_is_killed_is_named_and_not_those_that_lose_it(tmp_path: Path) -> None:
    killed: list[int] = []

    def kill(progress: Progress) -> None:
        if progress.phase == "measure" and not killed:
            killed.extend(_pids_of("de0", str(tmp_path)))
            os.kill(killed[0], signal.SIGKILL)

    with pytest.raises(ProgramError, match=r"^de0 was killed by signal 9"):
        runner.run(scenario("pe-only"), DualPath(), tmp_path / "run", kill)
    assert len(killed) == 1


@pytest.mark.parametrize("node", ["pe0", "st0"])
def test_a_node_that_stops_answering_ends_the_run(tmp_path: Path, node: str) -> None:
    stopped: list[int] = []

    def stop(progress: Progress) -> None:
        if progress.phase == "measure" and not stopped:
            stopped.extend(_pids_of(node, str(tmp_path)))
            os.kill(stopped[0], signal.SIGSTOP)

    text = SCENARIO.format(policy="pe-only") + "scheduler: {silent_after: 500ms}\n"
    with pytest.raises(ProgramError, match=rf"^sched: {node} has stopped answering: .* 2s"):
        runner.run(load_scenario(text, DualPathScenario), DualPath(), tmp_path / "run", stop)
    assert len(stopped) == 1
    assert not _pids_of(node, str(tmp_path))


def _pids_of(name: str, directory: str) -> list[int]:
    """Host pids of a run's process: found by the file of its records, which it holds open."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            files = [str(fd.readlink()) for fd in (process / "fd").iterdir()]
        except OSError:
            continue
        if any(file.startswith(directory) and file.endswith(f"/{name}.records") for file in files):
            found.append(int(process.name))
    return found
