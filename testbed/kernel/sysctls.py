"""Kernel parameters of a network namespace: /proc/sys/net shows the reader's own (proc(5))."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Mapping

from testbed.errors import KernelError, UnsupportedError
from testbed.kernel.namespaces import inside
from testbed.plan.model import Sysctl
from testbed.plan.sysctls import MANAGED_SYSCTLS

_ROOT = "/proc/sys"
_LONGEST_BYTES = 4096  # the kernel shows no value that is longer than a page
# A namespace may only have what the host allows to everybody, whoever asks.
_CONGESTION_CONTROL = "net/ipv4/tcp_congestion_control"
_ABSENT = {sysctl.key: sysctl.absent for sysctl in MANAGED_SYSCTLS}


def write_sysctls(elements: Iterable[Sysctl], namespaces: Mapping[str, int]) -> None:
    """Give parameters of several namespaces their values; `set_here` says the rest.

    Args:
        elements: the parameters.
        namespaces: name -> descriptor of the network namespace.
    """
    by_namespace: dict[str, list[Sysctl]] = {}
    for element in elements:
        by_namespace.setdefault(element.namespace, []).append(element)
    for namespace, wanted in by_namespace.items():
        with inside(namespaces[namespace]):
            set_here(wanted)


def set_here(elements: Iterable[Sysctl]) -> None:
    """Give parameters of the network namespace that the caller is in their values.

    A parameter that this kernel does not have counts as set if the kernel behaves as asked
    without it.

    Raises:
        UnsupportedError: the kernel does not have one that is needed.
        KernelError: it refused a value.
    """
    for element in elements:
        _write(element)


def _write(element: Sysctl) -> None:
    what = f"sysctl {element.key} = {element.value!r} in {element.namespace}"
    try:
        # Some may not be written without rights in the host; if right already, they need not be.
        with contextlib.suppress(PermissionError):
            return _set(element.key, element.value)
        if _read(element.key) != element.value:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except FileNotFoundError:
        if _ABSENT.get(element.key) != element.value:
            raise UnsupportedError(
                f"{what}: this kernel has no such parameter", hint="run `testbed doctor`"
            ) from None
    except OSError as error:
        hint = "run `testbed doctor`"
        if element.key == _CONGESTION_CONTROL:
            hint = (
                f"as root: modprobe tcp_{element.value}, and add {element.value} to "
                "net.ipv4.tcp_allowed_congestion_control; or choose another"
            )
        raise KernelError(f"the kernel refused {what}: {error.strerror}", hint=hint) from error


def read_sysctls(namespace: str, net: int) -> list[Sysctl]:
    """The managed parameters of a namespace; those without a file as they behave."""
    found = []
    with inside(net):
        for key, absent in MANAGED_SYSCTLS:
            try:
                value = _read(key)
            except FileNotFoundError:
                value = absent if absent is not None else "absent"
            found.append(Sysctl(namespace, key, value))
    return found


# Thousands of these are read and written, and a buffered text file costs five times as much.
def _read(key: str) -> str:
    fd = os.open(f"{_ROOT}/{key}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _value(fd)
    finally:
        os.close(fd)


def _set(key: str, value: str) -> None:
    fd = os.open(f"{_ROOT}/{key}", os.O_RDWR | os.O_CLOEXEC)
    try:
        if _value(fd) != value:
            os.pwrite(fd, value.encode(), 0)
    finally:
        os.close(fd)


def _value(fd: int) -> str:
    return " ".join(os.read(fd, _LONGEST_BYTES).decode().split())
