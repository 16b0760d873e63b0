"""What pid 1 of a testbed does: it brings the plan up, and answers requests until the end.

One thread, one selector; a request is answered before the next is looked at.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import selectors
import signal
import socket
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import msgspec

from testbed.errors import (
    CapacityError,
    NotFoundError,
    ProgramError,
    TestbedError,
    UnsupportedError,
    UsageError,
    VerifyError,
)
from testbed.kernel import namespaces as ns
from testbed.plan import model
from testbed.sandbox import registry
from testbed.sandbox.maker import Maker
from testbed.sandbox.program import Program
from testbed.sandbox.protocol import (
    Connection,
    Differs,
    Done,
    Exited,
    Failed,
    GarbledError,
    GetPlan,
    KillScope,
    MakeSockets,
    Message,
    Order,
    ReadCounters,
    ReadLinks,
    ReadTcp,
    Ready,
    Shutdown,
    Signal,
    Spawn,
    Spawned,
    Value,
    Verify,
    WarmUp,
)
from testbed.suggestions import suggestion

if TYPE_CHECKING:
    from testbed.kernel.counters import Counters

_LOOK_PERIOD_S = 1.0
_SEND_TIMEOUT_S = 2.0  # a client that does not read for so long is let go: others wait meanwhile
_BACKLOG = 128
_SHOWN_DIFFERENCES = 10
_FILES_PER_DOMAIN = 5  # four namespaces, and a moment's netlink socket
_FILES_BESIDE = 100
_STANDARD = 3  # descriptors of a program: its input, output and error
_PEER_CREDENTIALS = struct.Struct("=iII")


class Registration(NamedTuple):
    """Where this testbed is registered, and the descriptor that holds its lock."""

    directory: Path
    lock: int


class Service:
    """One testbed: brings it up, and serves it until it ends.

    Args:
        order: what to bring up.
        launcher: who ordered it.
        zygote_end: connection to the zygote.
        registration: where it is registered.
        maker: who makes the namespaces of the plan.
    """

    def __init__(
        self,
        order: Order,
        launcher: Connection,
        zygote_end: Connection,
        registration: Registration,
        maker: Maker,
    ) -> None:
        self._order = order
        self._launcher = launcher
        self._zygote = zygote_end
        self._registration = registration
        self._directory = registration.directory
        self._identity = self._directory.stat().st_ino
        self._plan = maker.plan
        self._maker = maker
        self._domains: dict[str, ns.DomainNamespaces] = {}
        self._nets: dict[str, int] = {}
        self._counters: Counters | None = None
        self._selector = selectors.DefaultSelector()
        self._waiting: list[tuple[Connection, Program]] = []  # spawned in this order
        self._programs: dict[int, tuple[Connection | None, Program]] = {}
        self._pids: dict[Connection, int] = {}
        domains = maker.plan.domains
        self._scopes = {*domains, *(each.node for each in domains.values())}
        self._seconds: dict[str, float] = {}

    # --- bringing up -------------------------------------------------------------------

    def bring_up(self) -> None:
        """The plan, and (unless told not to) its verification."""
        signal.signal(signal.SIGTERM, lambda *_: self._end())  # else pid 1 would not notice it
        _check_file_limit(len(self._plan.domains))
        began = time.monotonic()
        self._make()
        self._lap("apply", began)
        began = time.monotonic()
        if self._order.verify and (lines := self._differences()):
            shown = "\n  ".join(lines[:_SHOWN_DIFFERENCES])
            raise VerifyError(
                f"the kernel is not as it was asked to be, in {len(lines)} places:\n  {shown}",
                hint="this is a defect of the testbed or of the kernel; `testbed doctor` may tell",
            )
        self._lap("verify", began)

    def _make(self) -> None:
        """Everything that is in a namespace, as the maker hands these over."""
        from testbed.kernel.apply import Construction

        with Construction(self._plan, self._maker.order) as construction:
            while len(self._nets) < len(self._maker.order):
                nets: dict[str, int] = {}
                for name, made in self._maker.take().items():
                    if isinstance(made, ns.DomainNamespaces):
                        self._domains[name], nets[name] = made, made.net
                    else:
                        nets[name] = made
                self._nets |= nets
                construction.go_on(nets)
            construction.finish()
        self._maker.close()

    def _open_counters(self) -> Counters:
        """The counters of all meters; opened when somebody first asks."""
        if self._counters is None:
            from testbed.kernel.counters import Counters

            self._counters = Counters(self._plan.meters, self._nets)
        return self._counters

    def _lap(self, name: str, began: float) -> None:
        self._seconds[name] = time.monotonic() - began

    def _differences(self) -> list[str]:
        from testbed.kernel.readback import read
        from testbed.plan.diff import differences

        return [d.describe() for d in differences(self._plan, read(self._nets))]

    def announce(self) -> None:
        """Be reachable, and say so.

        Raises:
            UnsupportedError: the runtime directory takes no more files.
        """
        try:
            server = self._register()
        except OSError as error:
            raise UnsupportedError(
                f"the testbed cannot be registered in {self._directory}: {error.strerror}",
                hint="free some space there, or set XDG_RUNTIME_DIR to another directory of yours",
            ) from error
        self._selector.register(server, selectors.EVENT_READ, self._accept)
        self._selector.register(self._zygote, selectors.EVENT_READ, self._from_zygote)
        self._selector.register(self._launcher, selectors.EVENT_READ, self._from_launcher)
        self._launcher.send(Ready(self._seconds))
        self._zygote.send(WarmUp())

    def _register(self) -> socket.socket:
        """The control socket, and what `testbed ls` shows."""
        server = socket.socket(socket.AF_UNIX)
        path = str(self._directory / "control.sock")
        mask = os.umask(0o177)
        server.bind(path)
        os.umask(mask)
        server.listen(_BACKLOG)
        server.setblocking(False)
        about = {
            "name": self._order.name,
            "topology": self._plan.topology,
            "parameters": self._plan.parameters,
            "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "nodes": len({d.node for d in self._plan.domains.values()}),
            "domains": len(self._plan.domains),
            "seconds": self._seconds,
            "owned": self._order.owned,
        }
        (self._directory / "about.json").write_text(json.dumps(about))
        return server

    # --- serving -------------------------------------------------------------------------

    def serve(self) -> NoReturn:
        """Until told to end, or nobody could tell any more."""
        while True:
            for chosen, _ in self._selector.select(_LOOK_PERIOD_S):
                chosen.data(chosen.fileobj)
            try:
                if self._directory.stat().st_ino != self._identity:
                    os._exit(0)
            except FileNotFoundError:
                os._exit(0)  # nobody can reach this testbed any more

    def _from_launcher(self, launcher: Connection) -> None:
        if not _pulled(launcher):
            if self._order.owned:
                self._end()  # which closes the connection, as the last thing
            self._selector.unregister(launcher)
            launcher.close()

    def _end(self) -> NoReturn:
        registry.remove(*self._registration)
        os._exit(0)  # as pid 1: the kernel kills everything else in here

    def _accept(self, server: socket.socket) -> None:
        try:
            sock, _ = server.accept()
        except OSError:
            return  # it has gone again, or descriptors are short: it waits in the backlog
        size = _PEER_CREDENTIALS.size
        peer = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        _, uid, _ = _PEER_CREDENTIALS.unpack(peer)
        if uid not in (0, os.getuid()):
            sock.close()
            return
        sock.settimeout(_SEND_TIMEOUT_S)
        connection = Connection(sock)
        self._selector.register(connection, selectors.EVENT_READ, self._from_client)

    def _from_client(self, client: Connection) -> None:
        alive = _pulled(client)
        while alive:
            try:
                request = client.next()
            except GarbledError as error:
                try_send(client, Failed.of(error))
                alive = False
                break
            if request is None:
                return
            message, descriptors = request
            try:
                self._answer(client, message, descriptors)
            except TestbedError as error:
                try_send(client, Failed.of(error))
            except (TimeoutError, ConnectionError):
                alive = False  # it does not take its answer
            except OSError as error:
                try_send(client, Failed("ProgramError", str(error), ""))
            except Exception as error:  # a defect must not take the whole testbed along
                import traceback  # rarely needed, and not free

                detail = "".join(traceback.format_exception(error))
                try_send(client, Failed("TestbedError", f"the supervisor failed:\n{detail}", ""))
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)
        self._drop(client)

    def _drop(self, client: Connection) -> None:
        """A conversation has ended; its program, if it still runs, ends with it."""
        self._selector.unregister(client)
        pid = self._pids.pop(client, None)
        if pid is not None and self._runs(pid, client):
            _, program = self._programs[pid]
            self._programs[pid] = (None, program)
            _kill(pid, signal.SIGKILL)
        client.close()

    def _runs(self, pid: int, client: Connection) -> bool:
        """Whether the program of a conversation still runs (its pid may be another's by now)."""
        return pid in self._programs and self._programs[pid][0] is client

    def _signal(self, client: Connection, number: int) -> None:
        """Signal a conversation's program; when that has ended, what it left in its group."""
        pid = self._pids.get(client)
        if pid is None:
            return
        if self._runs(pid, client):
            _kill(pid, number)
        elif pid not in self._programs:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, number)

    def _answer(self, client: Connection, message: Message, descriptors: list[int]) -> None:
        match message:
            case Spawn():
                self._spawn(client, message, descriptors)
            case Signal():
                self._signal(client, message.number)
            case KillScope():
                self._kill_scope(message.scope)
                client.send(Done())
            case MakeSockets():
                self._make_sockets(client, message)
            case ReadCounters():
                client.send(Value(msgspec.msgpack.encode(self._open_counters().sample())))
            case ReadLinks():
                client.send(Value(msgspec.msgpack.encode(self._open_counters().links())))
            case ReadTcp():
                client.send(Value(msgspec.msgpack.encode(self._open_counters().tcp())))
            case Verify():
                client.send(Differs(self._differences()))
            case GetPlan():
                client.send(Value(model.encode(self._plan)))
            case Shutdown():
                registry.remove(*self._registration)
                try_send(client, Done())
                os._exit(0)
            case _:
                raise UnsupportedError(f"a testbed does not answer {message}")

    def _kill_scope(self, scope: str) -> None:
        if scope not in self._scopes:
            raise NotFoundError(
                f"there is no node {scope!r} in {self._order.name}, and no program had that scope",
                hint=suggestion(scope, self._scopes),
            )
        for pid, (_, program) in self._programs.items():
            if (program.scope or program.domain) == scope:
                _kill(pid, signal.SIGKILL)

    def _domain(self, name: str) -> ns.DomainNamespaces:
        if name not in self._domains:
            raise NotFoundError(
                f"there is no node {name!r} in {self._order.name}",
                hint=suggestion(name, self._plan.domains),
            )
        return self._domains[name]

    def _spawn(self, client: Connection, request: Spawn, descriptors: list[int]) -> None:
        domain = self._domain(request.program.domain)
        if len(descriptors) != _STANDARD:
            raise ProgramError(f"{len(descriptors)} descriptors came with a program, not 0, 1, 2")
        if not request.program.argv and request.program.module is None:
            raise UsageError("there is no command to run", hint="give a program and its arguments")
        passed = [*domain, *descriptors]
        if request.program.broker:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            ours.settimeout(_SEND_TIMEOUT_S)
            self._selector.register(Connection(ours), selectors.EVENT_READ, self._from_client)
            passed.append(theirs.detach())
            descriptors.append(passed[-1])  # closed with the others
        self._zygote.send(request, passed)
        self._waiting.append((client, request.program))

    def _make_sockets(self, client: Connection, request: MakeSockets) -> None:
        domain = self._domain(request.domain)
        with ns.inside(domain.net):
            made = [socket.socket(socket.AF_INET, request.kind) for _ in range(request.count)]
        try:
            client.send(Done(), [sock.fileno() for sock in made])
        finally:
            for sock in made:
                sock.close()

    def _from_zygote(self, connection: Connection) -> None:
        if not _pulled(connection):
            self._end()  # without it nothing can be run
        while (said := connection.next()) is not None:
            message, _ = said
            match message:
                case Spawned():
                    client, program = self._waiting.pop(0)
                    self._programs[message.pid] = (client, program)
                    self._scopes.add(program.scope or program.domain)
                    self._pids[client] = message.pid
                    try_send(client, message)
                    if client.fileno() < 0:  # it did not wait
                        self._pids.pop(client)
                        _kill(message.pid, signal.SIGKILL)
                case Exited():
                    owner, _ = self._programs.pop(message.pid)
                    if owner is not None:
                        try_send(owner, message)
                case Failed():
                    client, _ = self._waiting.pop(0)
                    try_send(client, message)
                case _:
                    raise AssertionError(f"the zygote says {message}")


def _pulled(connection: Connection) -> bool:
    try:
        return connection.pull()
    except (ConnectionError, TimeoutError):
        return False


def try_send(connection: Connection, message: Message) -> None:
    """Send, if the other side still listens."""
    with contextlib.suppress(OSError):
        connection.send(message)


def _kill(pid: int, number: int) -> None:
    """Signal a program and what it has started; it alone if it has no session of its own yet."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _check_file_limit(domains: int) -> None:
    needed = _FILES_PER_DOMAIN * domains + _FILES_BESIDE
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        raise CapacityError(
            f"{domains} domains take about {needed} open files, and this user may have {soft}",
            hint="raise the hard limit (`ulimit -Hn`), or take a smaller topology",
        )
