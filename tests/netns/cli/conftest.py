"""The command line with a runtime directory of its own, which must be empty in the end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """What the commands of a module run with; their testbeds are ended in the end."""
    runtime = tempfile.mkdtemp(prefix="tb-")  # short: it is part of a socket's path
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    found = {**os.environ, "XDG_RUNTIME_DIR": runtime, "PYTHONPATH": path}
    yield found
    subprocess.run([*argv(), "down", "--all"], env=found, capture_output=True, check=True)
    left = list((Path(runtime) / "testbed").iterdir())
    shutil.rmtree(runtime)
    assert left == []


def argv() -> list[str]:
    """The command."""
    return [sys.executable, "-m", "testbed.cli.main"]


@pytest.fixture(scope="module")
def testbed(environment: dict[str, str]) -> Command:
    """Runs the command to its end."""

    def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        settings: dict[str, object] = {"stdin": subprocess.DEVNULL, "env": environment}
        if "input" in options:
            del settings["stdin"]
        return subprocess.run(  # type: ignore[call-overload, no-any-return]
            [*argv(), *arguments],
            **{**settings, **options},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


@pytest.fixture(scope="module")
def single(testbed: Command) -> str:
    """A testbed that runs: h1 ── s1 ── h2."""
    ended = testbed("up", "single", "--name", "one")
    assert ended.returncode == 0, ended.stderr
    return "one"


@pytest.fixture
def start(environment: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the command, which is killed in the end if it still runs."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, **options: object) -> subprocess.Popen[str]:
        process: subprocess.Popen[str] = subprocess.Popen(  # type: ignore[call-overload]
            [*argv(), *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
