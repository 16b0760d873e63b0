"""Faults that the leading program asks for: whose end is then no failure.  h1, h2 ══ s1"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.errors import ProgramError
from testbed.experiment.programs import Running, Said
from testbed.experiment.workload import Placed
from testbed.lab import Lab
from testbed.sandbox.program import Program
from topologies.single import SingleTopo

# Says that it is ready, then repeats the lines that it is told, with its first argument.
_REPEATS = """
import json, sys
say = lambda event: print(json.dumps({"event": event, "as": sys.argv[1]}), flush=True)
say("ready")
for line in sys.stdin:
    say(line.strip())
"""
PATIENCE_S = 20.0


def program(host: str, name: str) -> Program:
    return Program((sys.executable, "-c", _REPEATS, name), host)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """`worker` on h1, which may be started again once, and `leader` on h2; both ready."""
    placed = [
        Placed("worker", program("h1", "first"), (program("h1", "second"),)),
        Placed("leader", program("h2", "leader")),
    ]
    with Lab(SingleTopo(k=2)) as lab, Running(lab, placed, tmp_path) as found:
        found.await_all("ready", PATIENCE_S)
        yield found


def heard(running: Running, event: str | None, name: str) -> Said:
    """The next such thing that a program says."""
    while True:
        said = running.next(PATIENCE_S)
        assert said is not None
        if (said.event, said.name) == (event, name):
            return said


def test_a_killed_program_is_not_waited_for_and_its_end_no_failure(running: Running) -> None:
    assert running.provoke("kill", "worker").action == "kill"
    heard(running, None, "worker")
    running.tell("stopped")
    running.await_all("stopped", PATIENCE_S)
    running.end(PATIENCE_S)


def test_a_stopped_program_is_ended_with_the_others(running: Running) -> None:
    running.provoke("stop", "worker")
    running.tell("stopped")
    running.await_all("stopped", PATIENCE_S)
    running.end(PATIENCE_S)


def test_a_program_that_was_resumed_is_waited_for(running: Running) -> None:
    running.provoke("stop", "worker")
    running.tell("hello")
    running.provoke("resume", "worker")
    assert heard(running, "hello", "worker").fields["as"] == "first"
    running.tell("stopped")
    running.await_all("stopped", PATIENCE_S)
    running.end(PATIENCE_S)


@pytest.mark.parametrize("early", [True, False])
def test_a_program_that_is_started_again_counts_like_any_other(
    running: Running, early: bool
) -> None:
    """Whether or not its first end was heard before."""
    running.provoke("kill", "worker")
    if early:
        heard(running, None, "worker")
    running.provoke("start", "worker")
    said = heard(running, "start", "worker")
    assert said.fields["as"] == "second"
    running._processes["worker"].kill()
    with pytest.raises(ProgramError, match="worker was killed by signal 9"):
        while True:
            running.next(PATIENCE_S)


@pytest.mark.parametrize(
    ("action", "name"),
    [("kill", "leader"), ("stop", "nobody"), ("tease", "worker"), ("start", "worker")],
)
def test_what_cannot_be_carried_out_is_refused(running: Running, action: str, name: str) -> None:
    with pytest.raises(ProgramError, match="leader asks to"):
        running.provoke(action, name)


def test_a_program_that_does_not_end_is_named(tmp_path: Path) -> None:
    deaf = 'import signal; print(\'{"event": "ready"}\', flush=True); signal.pause()'
    placed = [Placed("deaf", Program((sys.executable, "-c", deaf), "h1"))]
    with Lab(SingleTopo(k=2)) as lab, Running(lab, placed, tmp_path) as running:
        running.await_all("ready", PATIENCE_S)
        with pytest.raises(ProgramError, match=r"deaf did not end within 0\.2s"):
            running.end(0.2)
