"""A module run in a forked interpreter against the same module run by `python -m`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FORKED = """
import os, sys

from testbed.sandbox.module import run_module
child = os.fork()
if child == 0:
    os._exit(run_module("probe", tuple(sys.argv[1:]), (os.environ["PLACE"],)))
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
if status < 0:
    os.kill(os.getpid(), -status)
os._exit(status)
"""
MODULES = {
    "arguments": "import sys; print(sys.argv[1:], __name__, sys.argv[0].endswith('probe.py'))",
    "search path": "import sys, os; print(os.path.basename(sys.path[0]), os.getcwd() in sys.path)",
    "a neighbour": "import neighbour; print(neighbour.VALUE)",
    "a file of the working directory": "import in_the_way",
    "status": "raise SystemExit(7)",
    "large status": "raise SystemExit(256 + 3)",
    "no status": "raise SystemExit",
    "message": "raise SystemExit('no way')",
    "exception": "1 / 0",
    "at exit": "import atexit; atexit.register(print, 'bye'); raise SystemExit(4)",
    "a thread": (
        "import threading, time\n"
        "go = threading.Event()\n"
        "threading.Thread(target=lambda: (go.wait(), print('worked'))).start()\n"
        "threading.Timer(0, go.set).start()"
    ),
    "input": "import sys; print(sys.stdin.read().upper())",
    "no newline": "import sys; sys.stdout.write('end')",
    "odd bytes to stderr": "import sys; print('\\udcff', file=sys.stderr)",
    "original streams": "import sys; print(sys.__stdout__ is sys.stdout)",
    "main module": "import __main__; x = 5; print(__main__.x)",
    "asyncio": "import asyncio; print(asyncio.run(asyncio.sleep(0, 'slept')))",
    "interrupted": "import os, signal; os.kill(os.getpid(), signal.SIGINT)",
}


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    """A directory for modules, below the working directory."""
    place = tmp_path / "modules"
    place.mkdir()
    return place


def run(
    place: Path, command: list[str], variables: dict[str, str] | None = None, **options: object
) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    modules = place / "modules"
    # A new interpreter finds its modules by PYTHONPATH; the forked one is told where they are.
    path = [str(ROOT)] if "-c" in command else [str(modules), str(ROOT)]
    environment |= {"PYTHONPATH": os.pathsep.join(path), "PLACE": str(modules), **(variables or {})}
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [sys.executable, *command, "one", "two words"],
        cwd=place,
        env=environment,
        input="typed\n",
        text=True,
        check=False,
        **options,
    )


@pytest.mark.parametrize("body", MODULES.values(), ids=MODULES)
def test_the_outcome_is_that_of_python_m(body: str, modules: Path, tmp_path: Path) -> None:
    (modules / "probe.py").write_text(body)
    (modules / "neighbour.py").write_text("VALUE = 6")
    (tmp_path / "in_the_way.py").write_text("")
    new = run(tmp_path, ["-P", "-m", "probe"], capture_output=True)
    forked = run(tmp_path, ["-P", "-c", FORKED], capture_output=True)
    assert (forked.returncode, forked.stdout) == (new.returncode, new.stdout)
    assert forked.stderr.splitlines()[-1:] == new.stderr.splitlines()[-1:]


def test_ctrl_c_is_a_death_by_signal(modules: Path, tmp_path: Path) -> None:
    (modules / "probe.py").write_text(MODULES["interrupted"])
    ended = run(tmp_path, ["-P", "-c", FORKED], capture_output=True)
    assert ended.returncode == -signal.SIGINT


@pytest.mark.parametrize(("variables", "status"), [({}, 120), ({"PYTHONUNBUFFERED": "1"}, 1)])
def test_output_that_cannot_be_written_is_an_error(
    modules: Path, tmp_path: Path, variables: dict[str, str], status: int
) -> None:
    (modules / "probe.py").write_text("print('lost')")
    with Path("/dev/full").open("w") as full:
        new = run(tmp_path, ["-P", "-m", "probe"], variables, stdout=full, stderr=subprocess.PIPE)
        forked = run(tmp_path, ["-P", "-c", FORKED], variables, stdout=full, stderr=subprocess.PIPE)
    assert forked.returncode == new.returncode == status
    assert "No space left" in forked.stderr
