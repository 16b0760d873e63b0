"""The Python API: an emulated cluster for the length of a `with` block.

    from testbed import Lab
    from topologies.single import SingleTopo

    with Lab(SingleTopo(k=2, bw=100)) as lab:
        print(lab["h1"].run(["ping", "-c1", "h2"]).stdout)

Works from programs with any number of threads (Jupyter): this process enters no namespace.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import socket
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, TypeAlias

import msgspec

from testbed.errors import NotFoundError, ProgramError, UsageError
from testbed.plan.model import Domain as DomainInfo
from testbed.plan.model import Link, Plan, decode
from testbed.sandbox import registry
from testbed.sandbox.client import connect, rebuilt
from testbed.sandbox.launch import Launch
from testbed.sandbox.process import Completed, Process, start
from testbed.sandbox.program import Program
from testbed.sandbox.protocol import (
    Connection,
    Differs,
    Done,
    Failed,
    GetPlan,
    KillScope,
    Message,
    ReadCounters,
    ReadLinks,
    ReadTcp,
    Value,
    Verify,
)
from testbed.suggestions import suggestion

__all__ = ["Completed", "Domain", "Lab", "Process"]

Word: TypeAlias = str | bytes | os.PathLike[str]


class Domain:
    """A memory domain, or a plain host: where programs run."""

    def __init__(self, lab: Lab, info: DomainInfo) -> None:
        self._lab = lab
        self.info = info
        self.name = info.name

    def __repr__(self) -> str:
        where = ", ".join(f"{device} {address}" for device, address in self.addresses.items())
        return f"<node {self.name} of {self._lab.name}: {where}>"

    @property
    def addresses(self) -> Mapping[str, str]:
        """Device -> IPv4 address."""
        return self.info.addresses

    def popen(
        self,
        argv: Sequence[Word],
        *,
        env: Mapping[str, Word] | None = None,
        cwd: Word | None = None,
        stdin: IO[bytes] | int | None = None,
        stdout: IO[bytes] | int | None = subprocess.PIPE,
        stderr: IO[bytes] | int | None = subprocess.PIPE,
    ) -> Process:
        """Start a program; the arguments are those of subprocess.Popen.

        Raises:
            UsageError: `argv` is a text instead of a list, or something in it is no text.
        """
        environment = {key: _text(value) for key, value in (env or {}).items()}
        program = Program(
            _words(argv), self.name, environment=environment, cwd=_text(cwd or Path.cwd())
        )
        return self._lab.start(program, stdin=stdin, stdout=stdout, stderr=stderr)

    def run(
        self,
        argv: Sequence[Word],
        *,
        timeout: float | None = None,
        input: str | bytes | None = None,
        env: Mapping[str, Word] | None = None,
        cwd: Word | None = None,
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
            UsageError: as of `popen`.
        """
        words = _words(argv)
        data = input.encode() if isinstance(input, str) else input
        stdin = subprocess.PIPE if input is not None else subprocess.DEVNULL
        with self.popen(words, env=env, cwd=cwd, stdin=stdin) as process:
            try:
                out, err = process.communicate(data or b"", timeout)
            except TimeoutError:
                raise ProgramError(
                    f"{words[0]} on {self.name} did not end within {timeout:g} s and was killed",
                    hint="give it more time with timeout=",
                ) from None
            status = process.wait()
        done = Completed(status, out.decode(errors="replace"), err.decode(errors="replace"))
        if check and status != 0:
            raise ProgramError(
                f"{' '.join(words)} on {self.name} ended with status {status}\n"
                f"{done.stderr.strip()}"
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
        UsageError: `topology` is neither, or `settings` are something else.
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
        _check(topology, settings)
        self.name = name or f"lab-{os.getpid()}-{secrets.token_hex(3)}"
        self._owner: Connection | None
        with Launch(self.name) as begun:
            self.plan = _compiled(topology, settings)
            self._owner, ready = begun.bring_up(self.plan, owned=True, verify=verify)
        self.seconds: Mapping[str, float] = ready.seconds
        try:
            self._open()
        except BaseException:
            self._owner.close()
            raise

    def _open(self) -> None:
        self._entry = registry.Entry(self.name, registry.runtime_directory() / self.name, {})
        self._closed = False
        self._processes: set[Process] = set()
        self._asking = threading.Lock()
        self._asked: Connection | None = connect(self._entry)

    @classmethod
    def attach(cls, name: str | None = None) -> Lab:
        """A testbed that runs already, by its name (None: the only one).

        It outlives this object.

        Raises:
            NotFoundError: none of that name runs.
        """
        entry = registry.find(name)
        lab = cls.__new__(cls)
        lab.name = entry.name
        lab._owner = None
        lab.seconds = entry.about.get("seconds", {})
        lab._open()
        lab.plan = decode(lab._ask(GetPlan(), Value).data)
        return lab

    def close(self) -> None:
        """End the testbed; of an attached one, only the programs that this object started."""
        self._closed = True
        if self._asked is not None:
            self._asked.close()
        if self._owner is not None:
            self._owner.socket.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ProgramError):
                self._owner.receive()  # it closes when it has removed its directory
            self._owner.close()
            self._owner = None
        for process in tuple(self._processes):
            process.close()

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

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self.plan.domains)} domains"
        return f"<testbed {self.name} ({self.plan.topology}): {state}>"

    def __iter__(self) -> Iterator[str]:
        return iter(self.plan.domains)

    def __contains__(self, name: object) -> bool:
        return name in self.plan.domains

    def __getitem__(self, name: str) -> Domain:
        if name not in self.plan.domains:
            raise NotFoundError(
                f"there is no node {name!r} in {self.name}",
                hint=suggestion(name, self.plan.domains),
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
        self._check_open()
        with self._asking:
            if self._asked is None:
                self._asked = connect(self._entry)
            try:
                with contextlib.suppress(BrokenPipeError):  # it has ended: `receive` says so
                    self._asked.send(message)
                answer, _ = self._asked.receive()
            except BaseException:
                # Ctrl-C in a notebook: what is answered later is not for the next question.
                self._asked.close()
                self._asked = None
                raise
        if isinstance(answer, Failed):
            raise rebuilt(answer)
        assert isinstance(answer, kind)
        return answer

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError(
                f"the testbed {self.name} is closed", hint="use it inside its `with` block"
            )

    def counters(self) -> list[Any]:
        """`testbed.kernel.counters.MeterSample` of every NIC and direction, now."""
        from testbed.kernel.samples import MeterSample

        data = self._ask(ReadCounters(), Value).data
        return msgspec.msgpack.decode(data, type=list[MeterSample])

    def link_counters(self) -> dict[str, dict[str, Any]]:
        """Domain -> device -> `testbed.kernel.samples.LinkSample`, now: unshaped links, too.

        The switches' side is under "fabric".
        """
        from testbed.kernel.samples import LinkSample

        data = self._ask(ReadLinks(), Value).data
        return msgspec.msgpack.decode(data, type=dict[str, dict[str, LinkSample]])

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
            UsageError: this object is closed.
        """
        self._check_open()
        process = start(self._entry, program, stdin, stdout, stderr)
        self._processes.add(process)  # so that it lives until it is closed, or this Lab is
        process.closed = self._processes.discard
        return process

    def kill(self, scope: str) -> None:
        """Kill every program of a scope: a node's crash.

        Raises:
            NotFoundError: there is no such node, and no program had that scope.
        """
        self._ask(KillScope(scope), Done)


def _words(argv: Iterable[Word]) -> tuple[str, ...]:
    if isinstance(argv, str | bytes):
        raise UsageError(
            f"{argv!r} is a text, not a list of words",
            hint=f"write {shlex.split(os.fsdecode(argv))!r}, or ['sh', '-c', …] for a shell's",
        )
    return tuple(_text(word) for word in argv)


def _text(word: Word) -> str:
    try:
        return os.fsdecode(word)
    except TypeError:
        raise UsageError(f"{word!r} is not text", hint=f"write {str(word)!r}") from None


def _check(topology: Any, settings: Any) -> None:
    """Refuse what is no topology, before anything is started."""
    from mininet.topo import Topo

    if not isinstance(topology, Topo | Plan):
        hint = "make one, as in Lab(SingleTopo(k=2, bw=100))"
        if isinstance(topology, str):
            hint = f"of a name: Lab(topologies.catalog.build({topology!r}, {{}}))"
        raise UsageError(f"a Lab takes a Mininet Topo, not {topology!r}", hint=hint)
    if settings is None:
        return
    from testbed.plan.settings import PlanSettings

    if not isinstance(settings, PlanSettings):
        raise UsageError(
            f"settings={settings!r} are no PlanSettings",
            hint="e.g. settings=testbed.PlanSettings(mtu=1500)",
        )


def _compiled(topology: Any, settings: Any) -> Plan:
    if isinstance(topology, Plan):
        return topology
    from testbed.plan.compile import compile_plan

    return compile_plan(topology, settings, name=type(topology).__name__)
