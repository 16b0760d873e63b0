"""The broker: sockets made in any memory domain, handed over as descriptors.

A program that was started with `broker=True` needs no capability, and sees no namespace.
"""

from __future__ import annotations

import os
import socket

from testbed.errors import ProgramError
from testbed.sandbox.protocol import MOST_DESCRIPTORS, Connection, Done, Failed, MakeSockets

BROKER_VARIABLE = "TESTBED_BROKER_FD"


class Broker:
    """Makes sockets in memory domains.

    Args:
        connection: to the supervisor.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    def from_environment(cls) -> Broker:
        """The broker that this program was given.

        Raises:
            ProgramError: it was given none.
        """
        number = os.environ.get(BROKER_VARIABLE)
        if number is None:
            raise ProgramError(
                "this program has no socket broker", hint="start it with Program(broker=True)"
            )
        return cls(Connection(socket.socket(fileno=int(number))))

    def sockets(
        self, domain: str, count: int = 1, kind: int = socket.SOCK_STREAM
    ) -> list[socket.socket]:
        """IPv4 sockets in a domain.

        Args:
            domain: name of the memory domain.
            count: how many.
            kind: SOCK_STREAM or SOCK_DGRAM.

        Raises:
            ProgramError: there is no such domain.
        """
        made: list[socket.socket] = []
        while len(made) < count:
            batch = min(count - len(made), MOST_DESCRIPTORS)
            self._connection.send(MakeSockets(domain, batch, int(kind)))
            answer, descriptors = self._connection.receive()
            if isinstance(answer, Failed):
                raise ProgramError(answer.message, hint=answer.hint)
            if not isinstance(answer, Done) or len(descriptors) != batch:
                raise ProgramError(f"the broker answered {answer} to a request for {batch} sockets")
            made += [socket.socket(fileno=descriptor) for descriptor in descriptors]
        return made
