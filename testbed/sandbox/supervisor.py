"""The supervisor: pid 1 of a testbed.  Everything lives in its namespaces and dies with it.

    python -m testbed.sandbox.supervisor FD LOCK_FD DIRECTORY PYTHONPATH

is exec'd afresh by `testbed.sandbox.launch` (from any program, however many threads it has).  FD is
one end of a socket pair: the order comes in, `Ready` or `Failed` goes out; if the testbed is owned,
the supervisor exits when this connection closes.  PYTHONPATH is the launcher's own: programs get
that one, not the one by which this module was found.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from testbed.errors import TestbedError, UnsupportedError
from testbed.kernel import namespaces as ns
from testbed.sandbox import registry
from testbed.sandbox.furnish import mount_names, mount_own, write_names
from testbed.sandbox.maker import Maker
from testbed.sandbox.protocol import Connection, Failed, Order
from testbed.sandbox.service import Registration, Service, try_send


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


def _be_zygote(supervisor: socket.socket, module_path: str) -> NoReturn:
    try:
        select.select([supervisor], [], [])  # pid 1 has enough to do until it says something
        from testbed.sandbox import zygote

        zygote.serve(supervisor, module_path)
    finally:
        os._exit(1)


def _import_kernel() -> None:
    """What bringing up needs, while the launcher still compiles its plan."""
    import testbed.kernel.apply
    import testbed.kernel.readback
    import testbed.plan.diff  # noqa: F401


def _order(launcher: Connection) -> Order:
    """The order, if need be after some of what can be done without it."""
    if (found := launcher.waiting()) is None:
        _import_kernel()
        found = launcher.receive()
    order, _ = found
    assert isinstance(order, Order)
    return order


def _raise_file_limit() -> None:
    """As many open files as the user may have.  Programs come from the zygote: they keep theirs."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextlib.contextmanager
def _ending_with(launcher: Connection, registration: Registration) -> Iterator[None]:
    """For the length of a block, busy with other things, exit at once if the launcher goes away."""

    def look(*_: object) -> None:
        with contextlib.suppress(BlockingIOError):
            try:
                alive = launcher.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
            except ConnectionError:
                alive = False
            if not alive:
                registry.remove(*registration)
                os._exit(1)

    flags = fcntl.fcntl(launcher, fcntl.F_GETFL)
    before = signal.signal(signal.SIGIO, look)  # see O_ASYNC in fcntl(2)
    fcntl.fcntl(launcher, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(launcher, fcntl.F_SETFL, flags | os.O_ASYNC)
    try:
        look()
        yield
    finally:
        fcntl.fcntl(launcher, fcntl.F_SETFL, flags)
        signal.signal(signal.SIGIO, before)


def _init(launcher: Connection, registration: Registration, module_path: str) -> NoReturn:
    """pid 1 of the testbed."""
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # orphans are reaped by the kernel
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        mount_own()
        mount_names()
        mine, zygotes = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        if os.fork() == 0:
            mine.close()
            launcher.close()
            os.close(registration.lock)
            _be_zygote(zygotes, module_path)
        zygotes.close()
        _raise_file_limit()
        gc.disable()  # a large plan is a million objects, none of them garbage
        order = _order(launcher)
        maker = Maker(order.plan)
        write_names(maker.plan)
        service = Service(order, launcher, Connection(mine), registration, maker)
        with _ending_with(launcher, registration):
            service.bring_up()
        gc.freeze()
        gc.enable()
        service.announce()
    except TestbedError as error:
        _refuse(launcher, registration, Failed.of(error))
    except OSError as error:
        _refuse(launcher, registration, Failed("KernelError", str(error), "see `testbed doctor`"))
    except BaseException:
        print(_trace(), file=sys.stderr)  # the launcher shows it
        _refuse(launcher, registration, Failed("TestbedError", "the supervisor failed", ""))
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    os.close(null)
    try:
        service.serve()
    except BaseException:
        # Nobody reads its standard error any more.
        registry.crash_log(registration.directory).write_text(_trace())
        os._exit(1)


def _trace() -> str:
    """The exception that is being handled, in full."""
    import traceback  # rarely needed, and not free

    return traceback.format_exc()


def _refuse(launcher: Connection, registration: Registration, failure: Failed) -> NoReturn:
    registry.remove(*registration)
    try_send(launcher, failure)
    os._exit(1)


def main() -> None:
    """Make namespaces, and leave pid 1 of them behind."""
    descriptor, lock, directory, python_path = sys.argv[1:]
    launcher = Connection(socket.socket(fileno=int(descriptor)))
    registration = Registration(Path(directory), int(lock))
    module_path = os.environ.pop("PYTHONPATH", "")
    if python_path:
        os.environ["PYTHONPATH"] = python_path
    try:
        _enter_namespaces()
    except TestbedError as error:
        _refuse(launcher, registration, Failed.of(error))
    if os.fork() == 0:
        _init(launcher, registration, module_path)
    os._exit(0)


if __name__ == "__main__":
    main()
