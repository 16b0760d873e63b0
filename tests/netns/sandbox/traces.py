"""What a testbed leaves in the machine: its processes, found by a variable in their environment."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from testbed.sandbox import registry

ROOT = Path(__file__).resolve().parents[3]
_PATIENCE_S = 30.0

# Brings `single` up, starts a program in it, says so, and waits to be killed.
OWNER = """
import sys
from testbed.lab import Lab
from testbed.sandbox.program import Program
from topologies.single import SingleTopo

with Lab(SingleTopo(k=2), name=sys.argv[1]) as lab:
    lab.start(Program(("sleep", "1000"), "h1"))
    print("up", flush=True)
    sys.stdin.read()
"""


class Found(NamedTuple):
    """A process: its pid out here, its command line."""

    pid: int
    command: str


def python_path() -> str:
    """PYTHONPATH by which another interpreter finds the checkout, too."""
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


def processes(tag: str) -> list[Found]:
    """The live processes with TESTBED_TAG=tag in their environment."""
    wanted = f"TESTBED_TAG={tag}".encode()
    found = []
    for place in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if place.name.isdigit() and wanted in (place / "environ").read_bytes().split(b"\0"):
                command = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found.append(Found(int(place.name), command))
    return found


def supervisors(tag: str) -> list[int]:
    """The pids of supervisors (and their zygotes)."""
    return [one.pid for one in processes(tag) if "testbed.sandbox.supervisor" in one.command]


def init(tag: str) -> int | None:
    """The supervisor that is pid 1 of its namespace, see NSpid in proc_pid_status(5)."""
    for pid in supervisors(tag):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                name, _, numbers = line.partition(":")
                if name == "NSpid" and len(numbers.split()) > 1 and numbers.split()[-1] == "1":
                    return pid
    return None


def wait_until(condition: Callable[[], bool]) -> None:
    """Until it holds; the test fails if it takes too long."""
    ends_s = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < ends_s
        time.sleep(0.01)


def wait_until_gone(tag: str) -> None:
    """No process has the tag, and no testbed is registered (a dying process holds its lock)."""
    wait_until(lambda: not processes(tag))
    wait_until(lambda: not registry.running())


def start_owner(name: str, tag: str) -> subprocess.Popen[bytes]:
    """A process that owns a testbed; it has written "up" when it is up."""
    return subprocess.Popen(
        [sys.executable, "-c", OWNER, name],
        env={**os.environ, "TESTBED_TAG": tag, "PYTHONPATH": python_path()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
    )


def is_up(owner: subprocess.Popen[bytes], patience_s: float = _PATIENCE_S) -> bool:
    """Wait for an owner to say that its testbed is up."""
    assert owner.stdout is not None
    ready, _, _ = select.select([owner.stdout], [], [], patience_s)
    return bool(ready) and owner.stdout.readline() == b"up\n"


def end(owner: subprocess.Popen[bytes]) -> None:
    """Kill an owner, if need be, and close its pipes."""
    with owner:
        owner.kill()


def kill(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def kill_init(tag: str, owner: subprocess.Popen[bytes]) -> None:
    """Kill the supervisor as soon as there is one; nothing if the owner ends before."""
    while owner.poll() is None:
        if (pid := init(tag)) is not None:
            kill([pid])
            return


def kill_at_random(victim: str, delay_s: float, tag: str) -> None:
    """Kill the owner, or the supervisor, some time after the start."""
    owner = start_owner("random", tag)
    time.sleep(delay_s)  # any moment will do: this is no waiting for something
    if victim == "supervisor":
        kill_init(tag, owner)
    end(owner)
    wait_until_gone(tag)
