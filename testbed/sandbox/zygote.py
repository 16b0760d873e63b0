"""The zygote: a small, single-threaded process that forks every program of a testbed.

It is forked from the supervisor before that has imported anything large, and of its own accord
imports only the standard library and msgspec: what it forks starts in a millisecond.  Never numpy,
polars or matplotlib, which start threads or take long.  What is imported because programs ask for
it (`Program.preload`) is seen by nobody but those that asked: all others are exec'd.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import socket
import sys
import termios
import traceback
from pathlib import Path
from typing import NoReturn

from testbed.errors import EXEC_FAILED, EXEC_NOT_EXECUTABLE, EXEC_NOT_FOUND, ProgramError
from testbed.kernel.namespaces import DomainNamespaces, enter_domain
from testbed.sandbox.module import run_module
from testbed.sandbox.preload import Preload
from testbed.sandbox.program import Program
from testbed.sandbox.protocol import Connection, Exited, Failed, Spawn, Spawned, WarmUp
from testbed.sandbox.sockets import BROKER_VARIABLE
from testbed.sandbox.title import set_title

_NAMESPACES = len(DomainNamespaces._fields)


def _warm_up() -> None:
    """Import once what nearly every program that is a module imports."""
    import asyncio  # noqa: F401


class Zygote:
    """Serves one supervisor.

    Args:
        supervisor: connection on which `Spawn`s arrive, each answered by `Spawned` or `Failed`,
            and on which exits are told.
        module_path: PYTHONPATH for modules that are started by exec, so that they find what those
            that are forked find.
    """

    def __init__(self, supervisor: Connection, module_path: str) -> None:
        self._supervisor = supervisor
        self._module_path = module_path
        self._directory = _working_directory()
        self._preload = Preload()
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
                if isinstance(message, WarmUp):
                    _warm_up()
                    continue
                assert isinstance(message, Spawn)
                self._spawn(message, descriptors)

    def _spawn(self, request: Spawn, descriptors: list[int]) -> None:
        try:
            self._preload.prepare(request.program)
        except ProgramError as error:
            self._supervisor.send(Failed.of(error))
            for descriptor in descriptors:
                os.close(descriptor)
            return
        # Blocked until the child has made its session: what is sent to it meanwhile waits for it.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
        except OSError as error:
            self._supervisor.send(Failed("ProgramError", f"fork: {error.strerror}", ""))
            pid = -1
        if pid == 0:
            self._become(request, descriptors)
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
            self._supervisor.send(Exited(os.waitstatus_to_exitcode(status), pid))

    def _become(self, request: Spawn, descriptors: list[int]) -> NoReturn:
        """In the child: be the program."""
        status = EXEC_FAILED
        try:
            _settle(request, descriptors)
            _change_directory(request.program.cwd or self._directory)
            status = self._run(request.program)
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stderr.flush()
            os._exit(status)

    def _run(self, program: Program) -> int:
        """Turn into the program; a status if that cannot be done, or it was run in here."""
        argv = list(program.argv)
        if program.module is not None:
            if program.fork and self._preload.is_for(program):
                set_title(program.domain, ("python", "-P", "-m", program.module, *program.argv))
                return run_module(program.module, program.argv, program.module_path)
            # -P: what lies in the working directory must not shadow what the module imports.
            argv = [sys.executable, "-P", "-m", program.module, *argv]
            path = os.pathsep.join([*program.module_path, *filter(None, [self._module_path])])
            if path:
                os.environ["PYTHONPATH"] = path
        try:
            os.execvp(argv[0], argv)
        except FileNotFoundError:
            print(f"{argv[0]}: not found", file=sys.stderr)
            return EXEC_NOT_FOUND
        except OSError as error:
            if isinstance(error, PermissionError) and not _exists(argv[0]):
                # A directory of PATH may not be entered: as for a shell, nothing was found.
                print(f"{argv[0]}: not found", file=sys.stderr)
                return EXEC_NOT_FOUND
            print(f"{argv[0]}: {error.strerror}", file=sys.stderr)
            return EXEC_NOT_EXECUTABLE


def _exists(command: str) -> bool:
    """Whether a command names a file, by its path or in a directory of PATH."""
    if "/" in command:
        return os.access(command, os.F_OK)
    return any(os.access(f"{place}/{command}", os.F_OK) for place in os.get_exec_path())


def _settle(request: Spawn, descriptors: list[int]) -> None:
    """Be in the domain, in a session of its own, with the program's descriptors and environment."""
    signal.set_wakeup_fd(-1)
    for reset in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(reset) not in (signal.SIG_DFL, None):
            signal.signal(reset, signal.SIG_DFL)
    os.setsid()
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    given = descriptors[_NAMESPACES:]
    enter_domain(DomainNamespaces(*descriptors[:_NAMESPACES]))
    if request.tty:
        fcntl.ioctl(given[0], termios.TIOCSCTTY, 0)
    # In this order: the numbers that came are above 2, and those of the domain are done with.
    for number, descriptor in enumerate(given):
        os.dup2(descriptor, number)
        os.set_inheritable(number, True)  # dup2 leaves one as it is that has its number already
    os.closerange(len(given), os.sysconf("SC_OPEN_MAX"))
    os.environ.update(request.program.environment)
    if request.program.broker:
        os.environ[BROKER_VARIABLE] = str(len(given) - 1)


def _working_directory() -> str:
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return "/"  # it was removed


def _change_directory(path: str) -> None:
    try:
        os.chdir(path)
    except OSError as error:  # mounted after the testbed came up, or not for this user
        print(f"testbed: cannot go to the directory {path}: {error.strerror}", file=sys.stderr)
        print("start it from another one, or bring the testbed up again", file=sys.stderr)
        sys.stderr.flush()
        os._exit(EXEC_FAILED)


def serve(sock: socket.socket, module_path: str) -> NoReturn:
    """Be the zygote; called in a fresh fork.  Arguments as those of `Zygote`."""
    try:
        Zygote(Connection(sock), module_path).serve()
    finally:
        os._exit(0)
