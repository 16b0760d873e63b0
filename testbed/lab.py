"""The Python API: an emulated cluster for the length of a `with` block.

    with Lab(SingleSwitchTopo(2)) as lab:
        print(lab["h1"].run(["ping", "-c1", "h2"]).stdout)

Works from programs with any number of threads (Jupyter): this process enters no namespace.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import IO, Any, NamedTuple

import msgspec

from testbed.errors import NotFoundError, ProgramError
from testbed.plan.model import Domain as DomainInfo
from testbed.plan.model import Link, Plan, decode
from testbed.sandbox import registry
from testbed.sandbox.launch import connect, launch, rebuilt
from testbed.sandbox.program import Program
from testbed.sandbox.protocol import (
    Connection,
    Differs,
    Done,
    Exited,
    Failed,
    GetPlan,
    KillScope,
    Message,
    ReadCounters,
    ReadTcp,
    Signal,
    Spawn,
    Spawned,
    Value,
    Verify,
)

_KILL_TIMEOUT_S = 10.0


class Completed(NamedTuple):
    """A program that has run: its exit status (negative for a signal) and output."""

    status: int
    stdout: str
    stderr: str


class Process:
    """A program that runs in a testbed.

    Args:
        connection: the conversation about it; when it closes, the program is killed.
        pid: as the testbed's own processes see it.
        stdin, stdout, stderr: this side of its pipes, where there are any.
    """

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
        """
        with self._lock:
            if self.status is None:
                self._connection.socket.settimeout(timeout)
                try:
                    message, _ = self._connection.receive()
                finally:
                    self._connection.socket.settimeout(None)
                assert isinstance(message, Exited)
                self.status = message.status
                self._connection.close()
        return self.status

    def send_signal(self, number: int) -> None:
        """Send a signal to the program and what it has started."""
        if self.status is None:
            with contextlib.suppress(OSError):
                self._connection.send(Signal(number))

    def kill(self) -> None:
        """End it now."""
        self.send_signal(signal.SIGKILL)
        with contextlib.suppress(TimeoutError, ProgramError):
            self.wait(_KILL_TIMEOUT_S)

    def close(self) -> None:
        """Kill it if it runs, and close the pipes."""
        if self.status is None:
            self.kill()
        for pipe in (self.stdin, self.stdout, self.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


class Domain:
    """A memory domain, or a plain host: where programs run."""

    def __init__(self, lab: Lab, info: DomainInfo) -> None:
        self._lab = lab
        self.info = info
        self.name = info.name

    @property
    def addresses(self) -> Mapping[str, str]:
        """Device -> IPv4 address."""
        return self.info.addresses

    def popen(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        stdin: IO[bytes] | int | None = None,
        stdout: IO[bytes] | int | None = subprocess.PIPE,
        stderr: IO[bytes] | int | None = subprocess.PIPE,
    ) -> Process:
        """Start a program; the arguments are those of subprocess.Popen."""
        program = Program(
            tuple(argv), self.name, environment=dict(env or {}), cwd=cwd or os.getcwd()
        )
        return self._lab.start(program, stdin=stdin, stdout=stdout, stderr=stderr)

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float | None = None,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        check: bool = False,
    ) -> Completed:
        """Run a program to its end.

        Args:
            argv: program and arguments.
            timeout: seconds; then it is killed, with all that it started.
            input: given to its standard input, which is empty otherwise.
            env: added to the environment.
            cwd: working directory; default this process's.
            check: a status other than 0 is an error.

        Raises:
            ProgramError: it took too long, or (with `check`) failed.
        """
        stdin = subprocess.PIPE if input is not None else subprocess.DEVNULL
        process = self.popen(argv, env=env, cwd=cwd, stdin=stdin)
        outputs: dict[str, bytes] = {}

        def drain(name: str, pipe: IO[bytes] | None) -> None:
            outputs[name] = pipe.read() if pipe is not None else b""

        def feed() -> None:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write((input or "").encode())
                process.stdin.close()

        workers = [
            threading.Thread(target=drain, args=("stdout", process.stdout), daemon=True),
            threading.Thread(target=drain, args=("stderr", process.stderr), daemon=True),
        ]
        if input is not None:
            workers.append(threading.Thread(target=feed, daemon=True))
        for worker in workers:
            worker.start()
        try:
            status = process.wait(timeout)
        except TimeoutError:
            raise ProgramError(
                f"{argv[0]} on {self.name} did not end within {timeout:g} s and was killed",
                hint="give it more time with timeout=",
            ) from None
        finally:
            if process.status is None:
                process.kill()
            for worker in workers:
                worker.join()
            process.close()
        done = Completed(
            status, outputs["stdout"].decode(errors="replace"),
            outputs["stderr"].decode(errors="replace"),
        )  # fmt: skip
        if check and status != 0:
            raise ProgramError(
                f"{' '.join(argv)} on {self.name} ended with status {status}\n{done.stderr.strip()}"
            )
        return done


class Lab:
    """An emulated cluster, up for as long as a `with` block, or as this object is open.

    Args:
        topology: a Mininet Topo, or a plan that was compiled before.
        name: of the testbed; default a random one.
        settings: `testbed.plan.compile.PlanSettings`, for a Topo.
        verify: compare the kernel with the plan before it counts as up.

    Raises:
        TestbedError: it could not be brought up; nothing is left behind.
    """

    def __init__(
        self,
        topology: Any,
        *,
        name: str | None = None,
        settings: Any = None,
        verify: bool = True,
    ) -> None:
        if isinstance(topology, Plan):
            self.plan = topology
        else:
            from testbed.plan.compile import compile_plan

            self.plan = compile_plan(topology, settings, name=type(topology).__name__)
        self.name = name or f"lab-{os.getpid()}-{secrets.token_hex(3)}"
        self._owner: Connection | None
        self._owner, ready = launch(self.name, self.plan, owned=True, verify=verify)
        self.seconds: Mapping[str, float] = ready.seconds
        self._open()

    def _open(self) -> None:
        self._entry = registry.Entry(self.name, registry.runtime_directory() / self.name, {})
        self._asking = threading.Lock()
        self._asked = connect(self._entry)

    @classmethod
    def attach(cls, name: str | None = None) -> Lab:
        """A testbed that runs already, by its name; None is the only one.  It outlives this object."""
        entry = registry.find(name)
        lab = cls.__new__(cls)
        lab.name = entry.name
        lab._owner = None
        lab.seconds = entry.about.get("seconds", {})
        lab._open()
        lab.plan = decode(lab._ask(GetPlan(), Value).data)
        return lab

    def close(self) -> None:
        """End the testbed (an attached one is only let go)."""
        self._asked.close()
        if self._owner is not None:
            self._owner.socket.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ProgramError):
                self._owner.receive()  # it closes when it has removed its directory
            self._owner.close()
            self._owner = None

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- what is in it -------------------------------------------------------------------

    def __getitem__(self, name: str) -> Domain:
        if name not in self.plan.domains:
            raise NotFoundError(
                f"there is no node {name!r}", hint=f"nodes: {', '.join(self.plan.domains)}"
            )
        return Domain(self, self.plan.domains[name])

    @property
    def domains(self) -> dict[str, Domain]:
        """Every memory domain by its name."""
        return {name: Domain(self, info) for name, info in self.plan.domains.items()}

    @property
    def links(self) -> tuple[Link, ...]:
        """The links of the topology."""
        return self.plan.links

    def _ask(self, message: Message, kind: type[Any]) -> Any:
        with self._asking:
            self._asked.send(message)
            answer, _ = self._asked.receive()
        if isinstance(answer, Failed):
            raise rebuilt(answer)
        assert isinstance(answer, kind)
        return answer

    def counters(self) -> list[Any]:
        """`testbed.kernel.counters.MeterSample` of every NIC and direction, now."""
        from testbed.kernel.samples import MeterSample

        data = self._ask(ReadCounters(), Value).data
        return msgspec.msgpack.decode(data, type=list[MeterSample])

    def tcp_counters(self) -> dict[str, dict[str, int]]:
        """Domain -> TCP counters (RetransSegs, OutSegs, TCPTimeouts, …)."""
        data = self._ask(ReadTcp(), Value).data
        return msgspec.msgpack.decode(data, type=dict[str, dict[str, int]])

    def verify(self) -> list[str]:
        """What in the kernel is not as the plan asks; empty when all is well."""
        lines: list[str] = self._ask(Verify(), Differs).lines
        return lines

    # --- programs ------------------------------------------------------------------------

    def start(
        self,
        program: Program,
        *,
        stdin: IO[bytes] | int | None = subprocess.PIPE,
        stdout: IO[bytes] | int | None = subprocess.PIPE,
        stderr: IO[bytes] | int | None = subprocess.PIPE,
    ) -> Process:
        """Start a program; descriptors as in subprocess.Popen (None inherits this process's).

        Raises:
            NotFoundError: there is no such domain.
        """
        given: list[int] = []
        close_after: list[int] = []
        kept: list[IO[bytes] | None] = []
        for number, wish in enumerate((stdin, stdout, stderr)):
            theirs, mine = _stream(number, wish)
            given.append(theirs)
            kept.append(mine)
            if wish in (subprocess.PIPE, subprocess.DEVNULL):
                close_after.append(theirs)
        connection = connect(self._entry)
        try:
            connection.send(Spawn(program), given)
            answer, _ = connection.receive()
            if isinstance(answer, Failed):
                raise rebuilt(answer)
            assert isinstance(answer, Spawned)
        except BaseException:
            connection.close()
            for pipe in kept:
                if pipe is not None:
                    pipe.close()
            raise
        finally:
            for descriptor in close_after:
                os.close(descriptor)
        return Process(connection, answer.pid, *kept)

    def kill(self, scope: str) -> None:
        """Kill every program of a scope: a node's crash."""
        self._ask(KillScope(scope), Done)


def _stream(number: int, wish: IO[bytes] | int | None) -> tuple[int, IO[bytes] | None]:
    """The descriptor to hand over for a standard stream, and this side of it if it is a pipe."""
    if wish == subprocess.PIPE:
        read, write = os.pipe2(os.O_CLOEXEC)
        if number == 0:
            return read, open(write, "wb", buffering=0)
        return write, open(read, "rb")
    if wish == subprocess.DEVNULL:
        return os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC), None
    if wish is None:
        return number, None
    return (wish if isinstance(wish, int) else wish.fileno()), None
