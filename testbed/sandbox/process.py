"""A program that runs in a testbed, seen from outside: its pipes, its end, signals to it."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from typing import IO, NamedTuple

from testbed.errors import ProgramError, UsageError
from testbed.sandbox.client import connect, rebuilt
from testbed.sandbox.program import Program
from testbed.sandbox.protocol import Connection, Exited, Failed, Signal, Spawn, Spawned
from testbed.sandbox.registry import Entry

_KILL_TIMEOUT_S = 10.0
_CHUNK_BYTES = 1 << 16


class Completed(NamedTuple):
    """A program that has run: its exit status (negative for a signal) and output."""

    status: int
    stdout: str
    stderr: str


class Process:
    """A program that runs in a testbed.

    A context manager: at the end of the block it is killed, if it still runs.

    Args:
        connection: the conversation about it; when it closes, the program is killed.
        pid: as the testbed's own processes see it.
        stdin, stdout, stderr: this side of its pipes, where there are any.
    """

    closed: Callable[[Process], None] | None = None  # told when `close` has been called

    def __init__(
        self,
        connection: Connection,
        pid: int,
        stdin: IO[bytes] | None,
        stdout: IO[bytes] | None,
        stderr: IO[bytes] | None,
    ) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self.pid = pid
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr
        self.status: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, as soon as there is one; negative for a signal.

        Raises:
            TimeoutError: there is none within `timeout` seconds.
            ProgramError: the testbed ended first.
        """
        with self._lock:
            return self._wait(timeout)

    def poll(self) -> int | None:
        """The exit status, None while it runs; waits for nothing.

        Raises:
            ProgramError: the testbed ended first.
        """
        if not self._lock.acquire(blocking=False):
            return self.status  # somebody waits for it
        try:
            return self._wait(0)
        except TimeoutError:
            return None
        finally:
            self._lock.release()

    def _wait(self, timeout: float | None) -> int:
        """`wait`, by whoever has the lock."""
        if self.status is None:
            if self._connection.socket.fileno() < 0:
                raise ProgramError("it was ended together with its testbed")
            self._connection.socket.settimeout(timeout)
            try:
                message, _ = self._connection.receive()
            except BlockingIOError:  # what a timeout of 0 raises
                raise TimeoutError("it still runs") from None
            finally:
                self._connection.socket.settimeout(None)
            assert isinstance(message, Exited)
            self.status = message.status
            self._connection.close()
        return self.status

    def send_signal(self, number: int) -> None:
        """Send a signal to the program and what it has started (its process group).

        Raises:
            UsageError: there is no such signal.
        """
        if number not in signal.valid_signals():
            raise UsageError(f"{number} is not a signal", hint="see `kill -l`")
        if self.status is None:
            with contextlib.suppress(OSError):  # the testbed has ended, and the program with it
                self._connection.send(Signal(number))

    def terminate(self) -> None:
        """Ask it to end, and what it has started: SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it now, with what it has started."""
        self.send_signal(signal.SIGKILL)
        with contextlib.suppress(TimeoutError, ProgramError):
            self.wait(_KILL_TIMEOUT_S)

    def communicate(self, data: bytes = b"", timeout: float | None = None) -> tuple[bytes, bytes]:
        """Feed standard input, collect what comes on the other two until both end, and wait.

        Not after something was read from them otherwise: what was read ahead would be lost.

        Args:
            data: for its standard input.
            timeout: seconds for all of it.

        Raises:
            TimeoutError: it still runs, or holds its output open, after `timeout` seconds.
            ProgramError: the testbed ended first.
        """
        ends_s = None if timeout is None else time.monotonic() + timeout
        out, err = bytearray(), bytearray()
        left = memoryview(data)
        open_pipes: dict[int, IO[bytes]] = {}
        with selectors.DefaultSelector() as selector:
            for pipe, target in ((self.stdin, None), (self.stdout, out), (self.stderr, err)):
                if pipe is not None:
                    open_pipes[pipe.fileno()] = pipe
                    wanted = selectors.EVENT_WRITE if target is None else selectors.EVENT_READ
                    selector.register(pipe, wanted, target)
            if self.stdin is not None:
                os.set_blocking(self.stdin.fileno(), False)
            while open_pipes:
                ready = selector.select(_until(ends_s))
                if not ready and _until(ends_s) == 0:
                    raise TimeoutError("it has not ended")
                for chosen, _ in ready:
                    if chosen.data is None:
                        left = _written(chosen.fd, left)
                        goes_on = bool(left)
                    else:
                        chunk = os.read(chosen.fd, _CHUNK_BYTES)
                        chosen.data.extend(chunk)
                        goes_on = bool(chunk)
                    if not goes_on:
                        selector.unregister(chosen.fd)
                        open_pipes.pop(chosen.fd).close()
        self.wait(_until(ends_s))
        return bytes(out), bytes(err)

    def close(self) -> None:
        """Kill it if it runs, and close the pipes."""
        if self.status is None:
            self.kill()
        self._connection.close()
        for pipe in (self.stdin, self.stdout, self.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        if self.closed is not None:
            self.closed(self)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _until(ends_s: float | None) -> float | None:
    return None if ends_s is None else max(0.0, ends_s - time.monotonic())


def _written(descriptor: int, data: memoryview) -> memoryview:
    """Write what fits; returns the rest, nothing if nobody reads any more."""
    try:
        return data[os.write(descriptor, data[:_CHUNK_BYTES]) :]
    except BlockingIOError:
        return data
    except BrokenPipeError:
        return data[:0]


def start(
    entry: Entry,
    program: Program,
    stdin: IO[bytes] | int | None,
    stdout: IO[bytes] | int | None,
    stderr: IO[bytes] | int | None,
) -> Process:
    """Start a program in a running testbed.

    Args:
        entry: the testbed.
        program: what to run, and where.
        stdin, stdout, stderr: as those of subprocess.Popen; None inherits this process's.

    Raises:
        NotFoundError: there is no such domain.
        UsageError: something in the program is not UTF-8.
        ProgramError: the testbed does not answer.
    """
    with contextlib.ExitStack() as given, contextlib.ExitStack() as ours:
        connection = connect(entry)
        ours.callback(connection.close)
        theirs: list[int] = []
        kept: list[IO[bytes] | None] = []
        for number, wish in enumerate((stdin, stdout, stderr)):
            kept.append(_stream(number, wish, theirs, given))
            if (pipe := kept[-1]) is not None:
                ours.callback(pipe.close)
        try:
            connection.send(Spawn(program), theirs)
        except UnicodeEncodeError as error:
            raise UsageError(
                f"{error.object!r} is not UTF-8", hint="use other arguments, or another directory"
            ) from error
        except OSError:
            pass  # it may have said why
        answer, _ = connection.receive()
        if isinstance(answer, Failed):
            raise rebuilt(answer)
        assert isinstance(answer, Spawned)
        ours.pop_all()
        return Process(connection, answer.pid, *kept)


def _stream(
    number: int, wish: IO[bytes] | int | None, theirs: list[int], given: contextlib.ExitStack
) -> IO[bytes] | None:
    """Append the descriptor to hand over for a standard stream; this side of it if it is a pipe.

    `given` closes what was opened for the program only.
    """
    if wish == subprocess.PIPE:
        read, write = os.pipe2(os.O_CLOEXEC)
        inside, outside, mode = (read, write, "wb") if number == 0 else (write, read, "rb")
        given.callback(os.close, inside)
        theirs.append(inside)
        return os.fdopen(outside, mode, buffering=0 if number == 0 else -1)
    if wish == subprocess.DEVNULL:
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        given.callback(os.close, null)
        theirs.append(null)
    elif wish == subprocess.STDOUT and number == 2:
        theirs.append(theirs[1])
    elif wish is None:
        theirs.append(number)
    else:
        theirs.append(wish if isinstance(wish, int) else wish.fileno())
    return None
