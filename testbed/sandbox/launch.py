"""Bringing a testbed up from outside."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import testbed
from testbed.errors import ProgramError
from testbed.plan.model import Plan, pack
from testbed.sandbox import registry
from testbed.sandbox.client import rebuilt
from testbed.sandbox.protocol import Connection, Failed, Order, Ready

_SUPERVISOR = "testbed.sandbox.supervisor"  # the module that is run
_ROOT = str(Path(testbed.__file__).resolve().parents[1])


class Launch:
    """A testbed that is being started: its process makes itself ready while the caller compiles.

    A context manager: what has not been brought up by the end of the block is gone.

    Args:
        name: of the testbed.

    Raises:
        UsageError: the name cannot be used.
        ConflictError: a testbed of that name runs.
        UnsupportedError: there is no place to register it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._directory, self._lock = registry.claim(name)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connection = Connection(ours)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._up = False
        self._process: subprocess.Popen[bytes] | None = None
        try:
            with theirs:
                self._process = self._start(theirs.fileno())
        except BaseException:
            self.__exit__()
            raise

    def _start(self, descriptor: int) -> subprocess.Popen[bytes]:
        given = os.environ.get("PYTHONPATH", "")
        environment = dict(os.environ)
        if _ROOT not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, [_ROOT, given]))
        arguments = [str(descriptor), str(self._lock), str(self._directory), given]
        return subprocess.Popen(
            # -P: what lies in the working directory must not shadow the standard library.
            [sys.executable, "-P", "-m", _SUPERVISOR, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            pass_fds=(descriptor, self._lock),
            env=environment,
            start_new_session=True,  # Ctrl-C is for the caller, who then ends it
        )

    def bring_up(self, plan: Plan, *, owned: bool, verify: bool = True) -> tuple[Connection, Ready]:
        """Bring a plan up.

        Args:
            plan: what to make.
            owned: it ends when the returned connection closes (or this process dies).
            verify: compare the kernel with the plan before it counts as up.

        Raises:
            TestbedError: whatever went wrong, as it was raised inside; nothing is left behind.
        """
        # If it has failed already it says why: its last words arrive, ours need not.
        with contextlib.suppress(BrokenPipeError):
            self._connection.send(Order(self._name, pack(plan), owned, verify))
        try:
            answer, _ = self._connection.receive()
        except ProgramError as error:
            raise ProgramError(
                f"the supervisor of {self._name} died while it brought the testbed up"
                + self._said(),
                hint="`testbed doctor` may tell why",
            ) from error
        if isinstance(answer, Failed):
            raise rebuilt(Failed(answer.kind, answer.message + self._said(), answer.hint))
        assert isinstance(answer, Ready)
        self._up = True
        return self._connection, answer

    def _said(self) -> str:
        """What the supervisor wrote before it ended, on lines of its own."""
        self._log.seek(0)
        text = self._log.read().decode(errors="replace").strip()
        return f"\n{text}" if text else ""

    def __enter__(self) -> Launch:
        return self

    def __exit__(self, *_: object) -> None:
        """End it, unless it is up."""
        if not self._up:
            self._connection.close()
            registry.remove(self._directory, self._lock)
        if self._process is not None:
            self._process.wait()  # only the first of it, which has left pid 1 behind
        self._log.close()
        os.close(self._lock)


def launch(name: str, plan: Plan, *, owned: bool, verify: bool = True) -> tuple[Connection, Ready]:
    """Bring a plan up as a testbed: `Launch` for those who have the plan already."""
    with Launch(name) as begun:
        return begun.bring_up(plan, owned=owned, verify=verify)
