"""The supervisor: pid 1 of a testbed.  Everything lives in its namespaces and dies with it.

    python -m testbed.sandbox.supervisor FD LOCK_FD

is exec'd afresh by `testbed.sandbox.launch` (from any program, however many threads it has).  FD is the
launcher's end of a socket pair: the order comes in, `Ready` or `Failed` goes out; if the testbed is owned, the
supervisor exits when this connection closes.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import msgspec

from testbed.errors import NotFoundError, TestbedError, UnsupportedError, VerifyError
from testbed.kernel import namespaces as ns
from testbed.plan import model
from testbed.sandbox import registry, zygote
from testbed.sandbox.program import Program
from testbed.sandbox.protocol import (
    Connection,
    Differs,
    Done,
    Exited,
    Failed,
    GetPlan,
    KillScope,
    MakeSockets,
    Message,
    Order,
    ReadCounters,
    ReadTcp,
    Ready,
    Shutdown,
    Signal,
    Spawn,
    Spawned,
    Value,
    Verify,
)

if TYPE_CHECKING:
    from testbed.kernel.counters import Counters

_LOOK_PERIOD_S = 1.0
_SEND_TIMEOUT_S = 10.0
_BACKLOG = 128
_SHOWN_DIFFERENCES = 10
_PEER_CREDENTIALS = struct.Struct("=iII")


class Supervisor:
    """Serves one testbed until it ends.

    Args:
        order: what to bring up.
        launcher: who ordered it.
        zygote_end: connection to the zygote.
    """

    def __init__(self, order: Order, launcher: Connection, zygote_end: Connection) -> None:
        self._order = order
        self._launcher = launcher
        self._zygote = zygote_end
        self._directory = Path(order.directory)
        self._plan = model.decode(order.plan)
        self._domains: dict[str, ns.DomainNamespaces] = {}
        self._nets: dict[str, int] = {}
        self._counters: Counters | None = None
        self._selector = selectors.DefaultSelector()
        self._waiting: list[tuple[Connection, Program]] = []  # spawned in this order
        self._programs: dict[int, tuple[Connection | None, Program]] = {}
        self._pids: dict[Connection, int] = {}
        self._expecting_exit = 0
        self._seconds: dict[str, float] = {}

    # --- bringing up -------------------------------------------------------------------

    def bring_up(self) -> None:
        """Namespaces, the plan, and (unless told not to) its verification."""
        began = time.monotonic()
        from testbed.kernel.apply import apply

        self._lap("import", began)
        began = time.monotonic()
        for element in self._plan.elements:
            if isinstance(element, model.Namespace):
                if element.name in self._plan.domains:
                    self._domains[element.name] = ns.create_domain(element.name)
                    self._nets[element.name] = self._domains[element.name].net
                else:
                    self._nets[element.name] = ns.create_network()
        self._lap("namespaces", began)
        began = time.monotonic()
        apply(self._plan, self._nets)
        self._lap("apply", began)
        began = time.monotonic()
        if self._order.verify and (lines := self._differences()):
            shown = "\n  ".join(lines[:_SHOWN_DIFFERENCES])
            raise VerifyError(
                f"the kernel is not as it was asked to be, in {len(lines)} places:\n  {shown}",
                hint="this is a defect of the testbed or of the kernel; `testbed doctor` may tell",
            )
        self._lap("verify", began)

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
        """Be reachable, and say so."""
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
        self._selector.register(server, selectors.EVENT_READ, self._accept)
        self._selector.register(self._zygote, selectors.EVENT_READ, self._from_zygote)
        self._selector.register(self._launcher, selectors.EVENT_READ, self._from_launcher)
        self._launcher.send(Ready(self._seconds))

    # --- serving -------------------------------------------------------------------------

    def serve(self) -> NoReturn:
        """Until told to end, or nobody could tell any more."""
        identity = self._directory.stat().st_ino
        while True:
            for chosen, _ in self._selector.select(_LOOK_PERIOD_S):
                chosen.data(chosen.fileobj)
            try:
                if self._directory.stat().st_ino != identity:
                    os._exit(0)
            except FileNotFoundError:
                os._exit(0)  # nobody can reach this testbed any more

    def _from_launcher(self, launcher: Connection) -> None:
        if not _pulled(launcher):
            self._selector.unregister(launcher)
            launcher.close()
            if self._order.owned:
                self._end()

    def _end(self) -> NoReturn:
        registry.remove(self._directory)
        os._exit(0)  # as pid 1: the kernel kills everything else in here

    def _accept(self, server: socket.socket) -> None:
        sock, _ = server.accept()
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
        if not _pulled(client):
            self._drop(client)
            return
        while (request := client.next()) is not None:
            message, descriptors = request
            try:
                self._answer(client, message, descriptors)
            except TestbedError as error:
                _try_send(client, Failed(type(error).__name__, error.message, error.hint))
            except OSError as error:
                _try_send(client, Failed("ProgramError", str(error), ""))
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)

    def _drop(self, client: Connection) -> None:
        """A conversation has ended; its program, if it still runs, ends with it."""
        self._selector.unregister(client)
        pid = self._pids.pop(client, None)
        if pid is not None and pid in self._programs:
            _, program = self._programs[pid]
            self._programs[pid] = (None, program)
            _kill(pid, signal.SIGKILL)
        client.close()

    def _answer(self, client: Connection, message: Message, descriptors: list[int]) -> None:
        match message:
            case Spawn():
                self._spawn(client, message, descriptors)
            case Signal():
                if client in self._pids:
                    _kill(self._pids[client], message.number)
            case KillScope():
                for pid, (_, program) in self._programs.items():
                    if (program.scope or program.domain) == message.scope:
                        _kill(pid, signal.SIGKILL)
                client.send(Done())
            case MakeSockets():
                self._make_sockets(client, message)
            case ReadCounters():
                client.send(Value(msgspec.msgpack.encode(self._open_counters().sample())))
            case ReadTcp():
                client.send(Value(msgspec.msgpack.encode(self._open_counters().tcp())))
            case Verify():
                client.send(Differs(self._differences()))
            case GetPlan():
                client.send(Value(self._order.plan))
            case Shutdown():
                registry.remove(self._directory)
                _try_send(client, Done())
                os._exit(0)
            case _:
                raise UnsupportedError(f"a testbed does not answer {message}")

    def _domain(self, name: str) -> ns.DomainNamespaces:
        if name not in self._domains:
            raise NotFoundError(
                f"there is no node {name!r} in {self._order.name}",
                hint=f"nodes are {', '.join(list(self._domains)[:12])} …"
                if len(self._domains) > 12
                else f"nodes are {', '.join(self._domains)}",
            )
        return self._domains[name]

    def _spawn(self, client: Connection, request: Spawn, descriptors: list[int]) -> None:
        domain = self._domain(request.program.domain)
        passed = [*domain, *descriptors]
        if request.program.broker:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            ours.settimeout(_SEND_TIMEOUT_S)
            self._selector.register(Connection(ours), selectors.EVENT_READ, self._from_client)
            passed.append(theirs.detach())
            descriptors.append(passed[-1])  # closed with the others
        self._waiting.append((client, request.program))
        self._zygote.send(request, passed)

    def _make_sockets(self, client: Connection, request: MakeSockets) -> None:
        domain = self._domain(request.domain)
        with ns.inside(domain.net):
            made = [socket.socket(socket.AF_INET, request.kind) for _ in range(request.count)]
        client.send(Done(), [sock.fileno() for sock in made])
        for sock in made:
            sock.close()

    def _from_zygote(self, connection: Connection) -> None:
        if not _pulled(connection):
            os._exit(1)  # without it nothing can be run
        while (said := connection.next()) is not None:
            message, _ = said
            match message:
                case Spawned() if message.pid in self._programs:
                    self._expecting_exit = message.pid
                case Spawned() if self._waiting:
                    client, program = self._waiting.pop(0)
                    self._programs[message.pid] = (client, program)
                    self._pids[client] = message.pid
                    _try_send(client, message)
                    if client.fileno() < 0:
                        _kill(message.pid, signal.SIGKILL)
                case Exited():
                    self._exited(message)
                case Failed():
                    client, _ = self._waiting.pop(0)
                    _try_send(client, message)
                case _:
                    pass  # a process that an ended program left behind has ended too

    def _exited(self, message: Exited) -> None:
        pid, self._expecting_exit = self._expecting_exit, 0
        client, _ = self._programs.pop(pid, (None, None))
        if client is not None and client in self._pids:
            del self._pids[client]
            _try_send(client, message)


def _pulled(connection: Connection) -> bool:
    try:
        return connection.pull()
    except (ConnectionError, TimeoutError):
        return False


def _try_send(connection: Connection, message: Message) -> None:
    with contextlib.suppress(OSError):
        connection.send(message)


def _kill(pid: int, number: int) -> None:
    """Signal a program and what it has started; it alone if it has no session of its own yet."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


# --- the way in ----------------------------------------------------------------------------


def _enter_namespaces() -> None:
    """New namespaces of every kind that matters; a user namespace unless we are root."""
    uid, gid = os.getuid(), os.getgid()
    kinds = ns.CLONE_NEWNS | ns.CLONE_NEWPID | ns.CLONE_NEWNET | ns.CLONE_NEWUTS | ns.CLONE_NEWIPC
    try:
        if uid != 0:
            ns.unshare(ns.CLONE_NEWUSER)
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
            Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
        ns.unshare(kinds)
    except OSError as error:
        raise UnsupportedError(
            f"this user may not make namespaces here: {error.strerror}",
            hint="`testbed doctor` says what to change; as root it always works",
        ) from error


def _furnish(plan: model.Plan) -> None:
    """What every domain sees: its own processes, names of the cluster, no resolver."""
    ns.mount("none", "/", "", ns.MS_REC | ns.MS_PRIVATE)
    ns.mount("proc", "/proc", "proc", ns.MS_NOSUID | ns.MS_NODEV | ns.MS_NOEXEC)
    ns.mount("tmpfs", "/dev/shm", "tmpfs", ns.MS_NOSUID | ns.MS_NODEV, "mode=1777")
    files = {
        "/etc/hosts": hosts_file(plan),
        "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
        "/etc/resolv.conf": "# names are in /etc/hosts\n",
    }
    store = Path("/dev/shm/.testbed-etc")
    store.mkdir()
    for target, content in files.items():
        if not Path(target).exists():
            continue  # nothing to hide
        source = store / Path(target).name
        source.write_text(content)
        ns.mount(str(source), str(Path(target).resolve()), "", ns.MS_BIND)


def hosts_file(plan: model.Plan) -> str:
    """/etc/hosts: every domain by its name, every port as DOMAIN-DEVICE."""
    lines = ["127.0.0.1 localhost"]
    for name, domain in plan.domains.items():
        for device, address in domain.addresses.items():
            lines.append(f"{address} {name}-{device}")
        first = domain.addresses.get("mgmt") or next(iter(domain.addresses.values()), None)
        if first is not None:
            lines.append(f"{first} {name}")
    return "\n".join(lines) + "\n"


def _init(order: Order, launcher: Connection, lock: int) -> NoReturn:
    """pid 1 of the testbed."""
    supervisor: Supervisor | None = None
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # orphans are reaped by the kernel
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _furnish(model.decode(order.plan))
        mine, zygotes = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        if os.fork() == 0:
            mine.close()
            launcher.close()
            os.close(lock)
            zygote.serve(zygotes)
        zygotes.close()
        supervisor = Supervisor(order, launcher, Connection(mine))
        supervisor.bring_up()
        supervisor.announce()
    except TestbedError as error:
        _refuse(order, launcher, Failed(type(error).__name__, error.message, error.hint))
    except OSError as error:
        _refuse(order, launcher, Failed("KernelError", str(error), "see `testbed doctor`"))
    except BaseException:
        import traceback

        traceback.print_exc()  # the launcher shows it
        _refuse(order, launcher, Failed("TestbedError", "the supervisor failed", ""))
    with open(os.devnull, "r+b") as null:
        for number in range(3):
            os.dup2(null.fileno(), number)
    supervisor.serve()


def _refuse(order: Order, launcher: Connection, failure: Failed) -> NoReturn:
    registry.remove(Path(order.directory))
    _try_send(launcher, failure)
    os._exit(1)


def main() -> None:
    """Read the order, make namespaces, and leave pid 1 of them behind."""
    launcher = Connection(socket.socket(fileno=int(sys.argv[1])))
    lock = int(sys.argv[2])
    order, _ = launcher.receive()
    assert isinstance(order, Order)
    try:
        _enter_namespaces()
    except TestbedError as error:
        _refuse(order, launcher, Failed(type(error).__name__, error.message, error.hint))
    if os.fork() == 0:
        _init(order, launcher, lock)
    os._exit(0)


if __name__ == "__main__":
    main()
