"""Namespaces: making them, and being in one for a moment.

Every function here changes what calls it: `inside` and `returning` the thread, all others the
process, which must be single-threaded (setns(2) into a mount namespace refuses any other).
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from testbed.errors import KernelError, UnsupportedError

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_IFREQ = struct.Struct("16sh22x")  # struct ifreq with flags, see netdevice(7)
_DOCTOR = "`testbed doctor` says what this kernel and this user can do"

_libc = ctypes.CDLL(None, use_errno=True)
_KINDS = {"net": CLONE_NEWNET, "mnt": CLONE_NEWNS, "uts": CLONE_NEWUTS, "ipc": CLONE_NEWIPC}


class DomainNamespaces(NamedTuple):
    """Descriptors of the namespaces of one domain; whoever holds them closes them."""

    net: int
    mnt: int
    uts: int
    ipc: int

    def close(self) -> None:
        """Give all four descriptors back."""
        for fd in self:
            os.close(fd)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Leave the namespaces that `flags` (CLONE_NEW…) name for new ones.

    Raises:
        OSError: as unshare(2).
    """
    _checked(_libc.unshare(flags), "unshare")


def setns(fd: int, kind: int = CLONE_NEWNET) -> None:
    """Join the namespace of a descriptor; `kind` is its CLONE_NEW… flag.

    Raises:
        OSError: as setns(2).
    """
    _checked(_libc.setns(fd, kind), "setns")


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    """Mount a file system.

    Raises:
        OSError: as mount(2), with the target in its text.
    """
    result = _libc.mount(
        source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode()
    )
    _checked(result, f"mount {kind or source} on {target}")


def open_own(kind: str) -> int:
    """A descriptor of the calling thread's own namespace of a kind ("net", "mnt", …)."""
    return os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)


@contextlib.contextmanager
def returning() -> Iterator[None]:
    """Be back in the network namespace of before at the end of a `with` block."""
    own = open_own("net")
    try:
        try:
            yield
        finally:
            setns(own)
    finally:
        os.close(own)


@contextlib.contextmanager
def inside(net: int) -> Iterator[None]:
    """Be in a network namespace for the length of a `with` block."""
    with returning():
        setns(net)
        yield


def enter_domain(namespaces: DomainNamespaces) -> None:
    """Move this process into a domain for good; its working directory is then the root."""
    for kind, fd in namespaces._asdict().items():
        setns(fd, _KINDS[kind])


def _nothing() -> None:
    pass


def create_network(also: Callable[[], None] = _nothing) -> int:
    """Make a network namespace, its loopback up; the caller stays where it is.

    Args:
        also: done in there at first, before there is a device that is up.

    Returns:
        A descriptor of it.

    Raises:
        UnsupportedError: this process may not make one.
    """

    def furnish() -> None:
        also()
        _loopback_up()

    (net,) = _create(("net",), furnish)
    return net


def create_domain(hostname: str, also: Callable[[], None] = _nothing) -> DomainNamespaces:
    """Make the namespaces of a memory domain; the caller stays where it is.

    The domain has the host name, its loopback up, a /sys that shows its own devices and a
    /dev/shm of its own, so that no library takes two domains for one machine.  Its other mounts
    are copies of the caller's at this moment.

    Args:
        hostname: of the domain.
        also: done in there at first, before there is a device that is up.

    Raises:
        UnsupportedError: this process may not make them.
        KernelError: they cannot be furnished.
    """

    def furnish() -> None:
        also()
        _loopback_up()
        socket.sethostname(hostname)
        # Nothing that is mounted in one domain may appear in another.
        mount("none", "/", "", MS_REC | MS_PRIVATE)
        # /sys shows the network namespace that it was mounted in, see sysfs(5).
        mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")

    return DomainNamespaces(*_create(DomainNamespaces._fields, furnish))


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
        answer = fcntl.ioctl(control, _SIOCGIFFLAGS, _IFREQ.pack(b"lo", 0))
        _, flags = _IFREQ.unpack(answer)
        fcntl.ioctl(control, _SIOCSIFFLAGS, _IFREQ.pack(b"lo", flags | _IFF_UP))


def _create(kinds: tuple[str, ...], furnish: Callable[[], None]) -> list[int]:
    """Make namespaces, furnish them from inside, and come back, working directory included."""
    flags = sum(_KINDS[kind] for kind in kinds)
    own = {kind: open_own(kind) for kind in kinds}
    cwd = os.open(".", os.O_PATH | os.O_CLOEXEC)
    made: list[int] = []
    try:
        try:
            unshare(flags)
        except OSError as error:
            raise UnsupportedError(
                f"cannot make namespaces ({', '.join(kinds)}): {error.strerror}", hint=_DOCTOR
            ) from error
        try:
            furnish()
            made += [open_own(kind) for kind in kinds]
        except OSError as error:
            raise KernelError(
                f"cannot furnish a namespace: {error.strerror or error}", hint=_DOCTOR
            ) from error
        finally:
            for kind, fd in own.items():
                setns(fd, _KINDS[kind])
            os.fchdir(cwd)
    finally:
        for fd in (*own.values(), cwd):
            os.close(fd)
    return made
