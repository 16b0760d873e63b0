"""Bringing a testbed up from outside, and taking it down."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TypeVar

import testbed
from testbed import errors
from testbed.errors import ProgramError, TestbedError
from testbed.plan.model import Plan, encode
from testbed.sandbox import registry
from testbed.sandbox.protocol import Connection, Failed, Message, Order, Ready, Shutdown

_Answer = TypeVar("_Answer")
_SHUTDOWN_TIMEOUT_S = 5.0
_PEER_CREDENTIALS = struct.Struct("=iII")
_ROOT = str(Path(testbed.__file__).resolve().parents[1])


def launch(name: str, plan: Plan, *, owned: bool, verify: bool = True) -> tuple[Connection, Ready]:
    """Bring a plan up as a testbed.

    Args:
        name: of the testbed.
        plan: what to make.
        owned: it ends when the returned connection closes (or this process dies).
        verify: compare the kernel with the plan before it counts as up.

    Raises:
        TestbedError: whatever went wrong, as it was raised inside; nothing is left behind.
    """
    directory, lock = registry.claim(name)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    connection = Connection(ours)
    path = os.pathsep.join(filter(None, [_ROOT, os.environ.get("PYTHONPATH")]))
    try:
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "testbed.sandbox.supervisor", str(theirs.fileno()), str(lock)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                pass_fds=(theirs.fileno(), lock),
                env={**os.environ, "PYTHONPATH": path},
            )
            theirs.close()
            connection.send(Order(name, str(directory), encode(plan), owned, verify))
            process.wait()  # it has left pid 1 of the testbed behind
            try:
                answer, _ = connection.receive()
            except ProgramError as error:
                log.seek(0)
                detail = log.read().decode(errors="replace").strip()
                raise ProgramError(
                    f"the supervisor of {name} died while it brought the testbed up\n{detail}",
                    hint="`testbed doctor` may tell why",
                ) from error
            if isinstance(answer, Failed):
                log.seek(0)
                detail = log.read().decode(errors="replace").strip()
                raise rebuilt(answer, detail)
        assert isinstance(answer, Ready)
        return connection, answer
    except BaseException:
        connection.close()
        registry.remove(directory)
        raise
    finally:
        os.close(lock)


def rebuilt(failure: Failed, detail: str = "") -> TestbedError:
    """The exception that a `Failed` tells of."""
    kind = getattr(errors, failure.kind, TestbedError)
    message = f"{failure.message}\n{detail}" if detail else failure.message
    error: TestbedError = kind(message, hint=failure.hint)
    return error


def connect(entry: registry.Entry) -> Connection:
    """A new conversation with a running testbed.

    Raises:
        ProgramError: it does not answer.
    """
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(str(entry.socket))
    except OSError as error:
        sock.close()
        raise ProgramError(
            f"testbed {entry.name} does not answer: {error.strerror}",
            hint="it may still be coming up, or be about to end: try `testbed ls`",
        ) from error
    return Connection(sock)


def ask(entry: registry.Entry, question: Message, kind: type[_Answer]) -> _Answer:
    """One question to a running testbed, in a conversation of its own.

    Raises:
        TestbedError: it does not answer, or the answer is a failure.
    """
    connection = connect(entry)
    try:
        connection.send(question)
        answer, _ = connection.receive()
    finally:
        connection.close()
    if isinstance(answer, Failed):
        raise rebuilt(answer)
    assert isinstance(answer, kind)
    return answer


def shut_down(entry: registry.Entry) -> None:
    """End a testbed; returns when it is not reachable any more.

    The kernel frees its objects soon after.  One that does not react is killed, which ends it just as
    well: everything lives in its namespaces.

    Raises:
        ProgramError: it cannot be reached.
    """
    connection = connect(entry)
    try:
        connection.socket.settimeout(_SHUTDOWN_TIMEOUT_S)
        connection.send(Shutdown())
        connection.receive()
    except TimeoutError:
        size = _PEER_CREDENTIALS.size
        peer = connection.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        pid, _, _ = _PEER_CREDENTIALS.unpack(peer)  # who listens: unix(7)
        os.kill(pid, signal.SIGKILL)
        registry.remove(entry.directory)
    finally:
        connection.close()
