"""Namespaces: making them, entering them.  Single-threaded callers only (setns(2), unshare(2))."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
from collections.abc import Iterator
from typing import NamedTuple

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18

_libc = ctypes.CDLL(None, use_errno=True)
_KINDS = {"net": CLONE_NEWNET, "mnt": CLONE_NEWNS, "uts": CLONE_NEWUTS, "ipc": CLONE_NEWIPC}


class DomainNamespaces(NamedTuple):
    """Descriptors of the namespaces of one domain."""

    net: int
    mnt: int
    uts: int
    ipc: int


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """unshare(2); OSError if the kernel refuses."""
    _checked(_libc.unshare(flags), "unshare")


def setns(fd: int, kind: int = CLONE_NEWNET) -> None:
    """setns(2); OSError if the kernel refuses."""
    _checked(_libc.setns(fd, kind), "setns")


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    """mount(2); OSError that names the target if the kernel refuses."""
    result = _libc.mount(
        source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode()
    )
    _checked(result, f"mount {kind or source} on {target}")


def open_own(kind: str) -> int:
    """A descriptor of the caller's own namespace of a kind ("net", "mnt", …)."""
    return os.open(f"/proc/self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)


def create_network() -> int:
    """A new network namespace; the caller stays where it is."""
    own = open_own("net")
    try:
        unshare(CLONE_NEWNET)
        made = open_own("net")
        setns(own)
    finally:
        os.close(own)
    return made


def create_domain(hostname: str) -> DomainNamespaces:
    """New net, mnt, uts and ipc namespaces with a host name, /sys and /dev/shm of their own.

    The caller stays where it is, working directory included.
    """
    own = {kind: open_own(kind) for kind in _KINDS}
    cwd = os.open(".", os.O_PATH | os.O_CLOEXEC)
    try:
        unshare(CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC)
        socket.sethostname(hostname)
        mount("none", "/", "", MS_REC | MS_PRIVATE)
        # /sys shows the network namespace that it was mounted in, see sysfs(5).
        mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
        return DomainNamespaces(**{kind: open_own(kind) for kind in _KINDS})
    finally:
        for kind, fd in own.items():
            setns(fd, _KINDS[kind])
            os.close(fd)
        os.fchdir(cwd)
        os.close(cwd)


def enter_domain(namespaces: DomainNamespaces) -> None:
    """Move this process into a domain for good."""
    for kind, flag in _KINDS.items():
        setns(getattr(namespaces, kind), flag)


@contextlib.contextmanager
def inside(net: int) -> Iterator[None]:
    """Be in a network namespace for a while."""
    own = open_own("net")
    try:
        setns(net)
        yield
    finally:
        setns(own)
        os.close(own)
