"""A program that runs in a testbed on behalf of a command: `exec` and `shell` share this.

Nothing of this process enters a namespace: argv, environment and descriptors go over the control
socket.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from testbed.cli import output
from testbed.errors import ProgramError, UsageError
from testbed.sandbox import registry
from testbed.sandbox.client import connect, rebuilt
from testbed.sandbox.program import Program
from testbed.sandbox.protocol import Connection, Exited, Failed, Signal, Spawn, Spawned

# What a user or a supervising program sends to a foreground program.
_RELAYED = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


def program(node: str, argv: Sequence[str]) -> Program:
    """A program with this process's environment and working directory.

    Raises:
        UsageError: an argument is not UTF-8, which is what the control socket speaks.
    """
    for text in argv:
        if not _utf8(text):
            raise UsageError(f"the argument {text!r} is not UTF-8", hint="use another name")
    environment = {k: v for k, v in os.environ.items() if _utf8(k) and _utf8(v)}
    if left_out := sorted(os.environ.keys() - environment.keys()):
        output.note(
            f"testbed: not UTF-8, so not in its environment: {', '.join(map(repr, left_out))}"
        )
    try:
        cwd: str | None = str(Path.cwd())
    except FileNotFoundError:
        cwd = None  # it was removed
    return Program(tuple(argv), node, environment=environment, cwd=cwd)


def _utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def spawn(
    name: str | None, what: Program, descriptors: Sequence[int], *, tty: bool = False
) -> Connection:
    """Start a program in a testbed; the answer is the conversation about it.

    Args:
        name: of the testbed, None for the only one.
        what: the program.
        descriptors: its 0, 1 and 2.
        tty: descriptor 0 becomes its controlling terminal.

    Raises:
        NotFoundError: there is no such testbed or node.
        ProgramError: it does not answer.
    """
    connection = connect(registry.find(name))
    connection.send(Spawn(what, tty), descriptors)
    answer, _ = connection.receive()
    if isinstance(answer, Failed):
        raise rebuilt(answer)
    assert isinstance(answer, Spawned)
    return connection


def shell_status(status: int) -> int:
    """An exit status as a shell gives it: 128 + n for a program that signal n ended."""
    return 128 - status if status < 0 else status


class Relay:
    """Signals to this process go to the program instead; those before it runs are kept for it."""

    def __init__(self) -> None:
        self._connection: Connection | None = None
        self._early: list[int] = []

    def install(self) -> None:
        """From now on."""
        for number in _RELAYED:
            # What the parent ignores (nohup) stays ignored, by the program as well.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._relay)
        if signal.getsignal(signal.SIGTSTP) is not signal.SIG_IGN:
            signal.signal(signal.SIGTSTP, self._stop)

    def to(self, connection: Connection) -> None:
        """The program runs."""
        self._connection = connection
        for number in self._early:
            self._send(number)

    def _relay(self, number: int, _: FrameType | None) -> None:
        if self._connection is None:
            self._early.append(number)
        else:
            self._send(number)

    def _stop(self, *_: object) -> None:
        """Ctrl-Z: the program first, then this command; both go on together.

        SIGSTOP, because the program's process group is orphaned (its parent is in another session),
        and the kernel discards SIGTSTP for such a group.
        """
        if self._connection is not None:
            self._send(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        if self._connection is not None:
            self._send(signal.SIGCONT)

    def _send(self, number: int) -> None:
        assert self._connection is not None
        try:
            self._connection.send(Signal(number))
        except OSError:
            return  # the testbed has ended: receiving says so


def wait(connection: Connection) -> int:
    """The exit status of the program, as soon as there is one; negative for a signal.

    Raises:
        ProgramError: the testbed ended before the program did.
    """
    try:
        answer, _ = connection.receive()
    except ProgramError as error:
        raise ProgramError(
            "the testbed ended, and the program with it", hint="`testbed ls` lists those that run"
        ) from error
    assert isinstance(answer, Exited)
    return answer.status
