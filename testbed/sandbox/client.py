"""Talking to a running testbed from outside, and ending it.

Imports little: `testbed down` is as quick as the interpreter starts.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
from typing import TypeVar

from testbed import errors
from testbed.errors import ProgramError, TestbedError
from testbed.sandbox import registry
from testbed.sandbox.protocol import Connection, Failed, Message, Shutdown

_Answer = TypeVar("_Answer")
_SHUTDOWN_TIMEOUT_S = 5.0
_PEER_CREDENTIALS = struct.Struct("=iII")


def rebuilt(failure: Failed) -> TestbedError:
    """The exception that a `Failed` tells of."""
    error: TestbedError = getattr(errors, failure.kind)(failure.message, hint=failure.hint)
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

    The kernel frees its objects soon after.  One that does not react is killed, which ends it
    just as well: everything lives in its namespaces.

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
        os.kill(pid, signal.SIGKILL)  # what is left of its directory goes with the next look
    finally:
        connection.close()
