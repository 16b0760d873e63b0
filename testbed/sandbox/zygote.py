"""The zygote: a small, single-threaded process that forks every program of a testbed.

It is forked from the supervisor before that has imported anything large, and imports only the
standard library and msgspec: what it forks starts in a millisecond.  Never numpy, polars, pyroute2 or
matplotlib, which start threads or take long.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import runpy
import select
import signal
import socket
import sys
import termios
import traceback
from typing import NoReturn

from testbed.errors import EXEC_FAILED, EXEC_NOT_EXECUTABLE, EXEC_NOT_FOUND
from testbed.kernel.namespaces import DomainNamespaces, enter_domain
from testbed.sandbox.program import Program
from testbed.sandbox.protocol import Connection, Exited, Failed, Spawn, Spawned
from testbed.sandbox.sockets import BROKER_VARIABLE

WARM = (asyncio,)  # imported here once, for every program that is a module
_NAMESPACES = len(DomainNamespaces._fields)


class Zygote:
    """Serves one supervisor.

    Args:
        supervisor: connection on which `Spawn`s arrive, and exits are told: `Exited` for a pid
            is preceded by `Spawned` with the same pid.
    """

    def __init__(self, supervisor: Connection) -> None:
        self._supervisor = supervisor
        self._alarm_read, alarm_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(alarm_write)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> None:
        """Until the supervisor closes the connection."""
        poll = select.poll()
        poll.register(self._supervisor, select.POLLIN)
        poll.register(self._alarm_read, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == self._alarm_read:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._alarm_read, 4096)
                    self._reap()
                elif not self._supervisor.pull():
                    return
            while (request := self._supervisor.next()) is not None:
                message, descriptors = request
                assert isinstance(message, Spawn)
                self._spawn(message, descriptors)

    def _spawn(self, request: Spawn, descriptors: list[int]) -> None:
        # Blocked until the child has made its session: what is sent to it meanwhile waits for it.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
        except OSError as error:
            self._supervisor.send(Failed("ProgramError", f"fork: {error.strerror}", ""))
            pid = -1
        if pid == 0:
            _become(request, descriptors)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        for descriptor in descriptors:
            os.close(descriptor)
        if pid > 0:
            self._supervisor.send(Spawned(pid))

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._supervisor.send(Spawned(pid))
            self._supervisor.send(Exited(os.waitstatus_to_exitcode(status)))


def _become(request: Spawn, descriptors: list[int]) -> NoReturn:
    """In the child: be the program."""
    status = 1
    try:
        program = request.program
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        standard = descriptors[_NAMESPACES : _NAMESPACES + 3]
        enter_domain(DomainNamespaces(*descriptors[:_NAMESPACES]))
        if request.tty:
            fcntl.ioctl(standard[0], termios.TIOCSCTTY, 0)
        broker = descriptors[_NAMESPACES + 3] if program.broker else None
        for number, descriptor in enumerate(standard):
            os.dup2(descriptor, number)
        if broker is not None:
            os.dup2(broker, 3)
        os.closerange(4 if broker is not None else 3, 65536)
        os.environ.update(program.environment)
        if broker is not None:
            os.set_inheritable(3, True)
            os.environ[BROKER_VARIABLE] = "3"
        if program.cwd is not None:
            _change_directory(program.cwd)
        status = _run(program)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _change_directory(path: str) -> None:
    try:
        os.chdir(path)
    except OSError as error:  # mounted after the testbed came up, or not for this user
        print(f"testbed: cannot go to the directory {path}: {error.strerror}", file=sys.stderr)
        print("start it from another one, or bring the testbed up again", file=sys.stderr)
        sys.stderr.flush()
        os._exit(EXEC_FAILED)


def _run(program: Program) -> int:
    if program.module is not None and program.fork:
        return _run_module(program.module, program.argv)
    argv = list(program.argv)
    if program.module is not None:
        argv = [sys.executable, "-m", program.module, *argv]
    try:
        os.execvp(argv[0], argv)
    except FileNotFoundError:
        print(f"{argv[0]}: not found", file=sys.stderr)
        return EXEC_NOT_FOUND
    except OSError as error:
        print(f"{argv[0]}: {error.strerror}", file=sys.stderr)
        return EXEC_NOT_EXECUTABLE


def _run_module(module: str, arguments: tuple[str, ...]) -> int:
    """What `python -m module arguments` would do, in this process."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # as the interpreter starts with
    sys.stdin, sys.stdout, sys.stderr = (
        open(0, closefd=False),  # noqa: SIM115
        open(1, "w", buffering=1 if os.isatty(1) else -1, closefd=False),  # noqa: SIM115
        open(2, "w", buffering=1, closefd=False),  # noqa: SIM115
    )
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as leaving:
        if leaving.code is None:
            return 0
        if isinstance(leaving.code, int):
            return leaving.code & 0xFF
        print(leaving.code, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGINT)
    return 0


def serve(sock: socket.socket) -> NoReturn:
    """Be the zygote; called in a fresh fork."""
    try:
        Zygote(Connection(sock)).serve()
    finally:
        os._exit(0)
