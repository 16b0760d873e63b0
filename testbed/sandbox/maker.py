"""The maker: a child of pid 1 that makes the namespaces of a plan and hands them over.

Making a namespace and setting its parameters takes the kernel as long as making what is in it,
and for the most part under other locks: pid 1 fills those that it has while the next are made.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from testbed.errors import ProgramError, TestbedError
from testbed.kernel.namespaces import DomainNamespaces, create_domain, create_network
from testbed.kernel.sysctls import set_here
from testbed.plan.model import Namespace, Plan, Sysctl, unpack
from testbed.sandbox.client import rebuilt
from testbed.sandbox.protocol import Connection, Failed, Made

_AT_ONCE = 4  # namespaces to a message: the first come soon, and messages are not too many


class Maker:
    """Makes the namespaces of a plan, and sets their parameters, in another process.

    Args:
        packed: the plan of what is to be brought up (`testbed.plan.model.pack`).
    """

    def __init__(self, packed: bytes) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        pid = os.fork()
        if pid == 0:
            ours.close()
            _be_maker(packed, Connection(theirs))
        theirs.close()
        self._process: int | None = None
        with contextlib.suppress(ProcessLookupError):  # if it has died already, `take` says so
            self._process = os.pidfd_open(pid)
        self._connection = Connection(ours)
        # Not before the fork: the kernel would copy, page by page, what either looks at.
        self.plan = unpack(packed)
        self.order = _in_order(self.plan)

    def take(self) -> Mapping[str, DomainNamespaces | int]:
        """The next namespaces in order, as many as there are; waits for the first of them.

        Returns:
            name -> the namespaces of a domain, or the network namespace of what is none.

        Raises:
            TestbedError: what went wrong.
        """
        made: dict[str, DomainNamespaces | int] = {}
        try:
            found: tuple[object, list[int]] | None = self._connection.receive()
        except ProgramError as error:
            raise ProgramError("the process that makes the namespaces has died") from error
        while found is not None:
            message, descriptors = found
            if isinstance(message, Failed):
                raise rebuilt(message)
            assert isinstance(message, Made)
            for name in message.names:
                size = len(DomainNamespaces._fields) if name in self.plan.domains else 1
                own, descriptors = descriptors[:size], descriptors[size:]
                made[name] = DomainNamespaces(*own) if name in self.plan.domains else own[0]
            found = self._connection.waiting()
        return made

    def close(self) -> None:
        """Wait for the end of the process."""
        self._connection.close()
        if self._process is not None:
            select.select([self._process], [], [])
            os.close(self._process)


def _in_order(plan: Plan) -> list[str]:
    """The namespaces of a plan.  What is no domain is the fabric, which domains are linked to."""
    names = {element.name for element in plan.elements if isinstance(element, Namespace)}
    others = sorted(names - plan.domains.keys())
    return [*others, *(name for name in plan.domains if name in names)]


def _be_maker(packed: bytes, connection: Connection) -> NoReturn:
    try:
        _make(unpack(packed), connection)
    except TestbedError as error:
        connection.send(Failed.of(error))
    except BaseException:
        import traceback  # rarely needed, and not free

        with contextlib.suppress(OSError):
            connection.send(Failed("TestbedError", traceback.format_exc(), ""))
    finally:
        os._exit(0)


def _make(plan: Plan, connection: Connection) -> None:
    order = _in_order(plan)
    sysctls: dict[str, list[Sysctl]] = {}
    for element in plan.elements:
        if isinstance(element, Sysctl):
            sysctls.setdefault(element.namespace, []).append(element)
    for start in range(0, len(order), _AT_ONCE):
        names = order[start : start + _AT_ONCE]
        descriptors: list[int] = []
        for name in names:
            also = _setting(sysctls.get(name, ()))
            if name in plan.domains:
                descriptors += create_domain(name, also)
            else:
                descriptors.append(create_network(also))
        connection.send(Made(tuple(names)), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _setting(sysctls: Sequence[Sysctl]) -> Callable[[], None]:
    return lambda: set_here(sysctls)
