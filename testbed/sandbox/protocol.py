"""What is said over the control socket: messages, and descriptors that travel with them.

A message is a msgspec struct, MessagePack-encoded behind its length and the number of descriptors
that come with it (SCM_RIGHTS, unix(7), on its first byte).  One connection carries one
conversation: requests and their answers in turn, or one program and its exit.
"""

from __future__ import annotations

import array
import contextlib
import os
import select
import socket
import struct
from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from testbed.errors import ProgramError, TestbedError
from testbed.sandbox.program import Program

_HEADER = struct.Struct("=II")  # bytes of the body, descriptors
MOST_DESCRIPTORS = 250  # SCM_MAX_FD is 253
_LONGEST_BODY_BYTES = 1 << 28  # a plan of some thousand hosts is a tenth of it


class Order(msgspec.Struct, frozen=True, tag="order"):
    """Launcher to supervisor: what to bring up (`plan` is packed, see `testbed.plan.model`)."""

    name: str
    plan: bytes
    owned: bool
    verify: bool


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """Supervisor to launcher: it is up, and verified."""

    seconds: dict[str, float]


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """An answer: it did not work.  `kind` is the class name of a `testbed.errors` exception."""

    kind: str
    message: str
    hint: str

    @classmethod
    def of(cls, error: TestbedError) -> Failed:
        """What to say about an error; a part's own subclass travels as what it is derived from."""
        kinds = [kind for kind in type(error).__mro__ if kind.__module__ == TestbedError.__module__]
        return cls(kinds[0].__name__, error.message, error.hint)


class Made(msgspec.Struct, frozen=True, tag="made"):
    """Maker to supervisor: these namespaces have been made; their descriptors come along."""

    names: tuple[str, ...]


class WarmUp(msgspec.Struct, frozen=True, tag="warm-up"):
    """Supervisor to zygote: import what programs will want."""


class Spawn(msgspec.Struct, frozen=True, tag="spawn"):
    """Run a program with the descriptors 0, 1 and 2 that come along; `tty` makes 0 its terminal."""

    program: Program
    tty: bool = False


class Spawned(msgspec.Struct, frozen=True, tag="spawned"):
    """The program runs; `pid` is the one inside."""

    pid: int


class Exited(msgspec.Struct, frozen=True, tag="exited"):
    """The program has ended: its status, negative for a signal; `pid` as in `Spawned`."""

    status: int
    pid: int


class Signal(msgspec.Struct, frozen=True, tag="signal"):
    """Send a signal to the process group of this conversation's program."""

    number: int


class KillScope(msgspec.Struct, frozen=True, tag="kill-scope"):
    """Kill every program of a scope."""

    scope: str


class MakeSockets(msgspec.Struct, frozen=True, tag="make-sockets"):
    """Make IPv4 sockets in a domain; they come back with `Done`."""

    domain: str
    count: int
    kind: int


class ReadCounters(msgspec.Struct, frozen=True, tag="read-counters"):
    """Read the counters of all meters."""


class ReadLinks(msgspec.Struct, frozen=True, tag="read-links"):
    """Read the counters of every device, shaped or not."""


class ReadTcp(msgspec.Struct, frozen=True, tag="read-tcp"):
    """Read the TCP counters of all domains."""


class Value(msgspec.Struct, frozen=True, tag="value"):
    """An answer that is encoded data."""

    data: bytes


class Verify(msgspec.Struct, frozen=True, tag="verify"):
    """Read the kernel back and compare."""


class Differs(msgspec.Struct, frozen=True, tag="differs"):
    """What is not as it was asked for; empty if all is well."""

    lines: list[str]


class GetPlan(msgspec.Struct, frozen=True, tag="get-plan"):
    """The plan that was brought up."""


class Shutdown(msgspec.Struct, frozen=True, tag="shutdown"):
    """End the testbed."""


class Done(msgspec.Struct, frozen=True, tag="done"):
    """It worked."""


Message: TypeAlias = (
    Order
    | Ready
    | Failed
    | Made
    | WarmUp
    | Spawn
    | Spawned
    | Exited
    | Signal
    | KillScope
    | MakeSockets
    | ReadCounters
    | ReadLinks
    | ReadTcp
    | Value
    | Verify
    | Differs
    | GetPlan
    | Shutdown
    | Done
)

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Message)


class GarbledError(ProgramError):
    """The other side does not speak this protocol, or descriptors were lost on the way."""


class Connection:
    """One end of a conversation, over a stream socket of the local machine."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._received = bytearray()
        self._descriptors: list[int] = []

    def fileno(self) -> int:
        """Of the socket."""
        return self.socket.fileno()

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Send a message; descriptors are copied to the other side."""
        body = _encoder.encode(message)
        data = memoryview(_HEADER.pack(len(body), len(descriptors)) + body)
        ancillary = []
        if descriptors:
            packed = array.array("i", descriptors)
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, packed)]
        sent = self.socket.sendmsg([data], ancillary)
        if sent < len(data):
            self.socket.sendall(data[sent:])

    def pull(self) -> bool:
        """Read what has come; False when the other side has closed."""
        space = socket.CMSG_LEN(MOST_DESCRIPTORS * 4)
        data, ancillary, _, _ = self.socket.recvmsg(1 << 18, space, socket.MSG_CMSG_CLOEXEC)
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers = array.array("i")
                numbers.frombytes(content[: len(content) - len(content) % 4])
                self._descriptors.extend(numbers)
        self._received += data
        return bool(data)

    def next(self) -> tuple[Message, list[int]] | None:
        """The next whole message that was pulled, with its descriptors.

        Raises:
            GarbledError: it cannot be understood; nothing after it can be either.
        """
        if len(self._received) < _HEADER.size:
            return None
        length, count = _HEADER.unpack_from(self._received)
        if length > _LONGEST_BODY_BYTES:
            raise GarbledError(f"a message of {length} bytes was announced")
        end = _HEADER.size + length
        if len(self._received) < end:
            return None
        try:
            message = _decoder.decode(memoryview(self._received)[_HEADER.size : end])
        except msgspec.MsgspecError as error:
            raise GarbledError(f"a message cannot be understood: {error}") from error
        if len(self._descriptors) < count:
            raise GarbledError(
                f"{count} descriptors were sent and {len(self._descriptors)} arrived",
                hint="the limit of open files may be too low: `ulimit -n`",
            )
        del self._received[:end]
        descriptors, self._descriptors = self._descriptors[:count], self._descriptors[count:]
        return message, descriptors

    def waiting(self) -> tuple[Message, list[int]] | None:
        """The next message, if it has come by now."""
        while (found := self.next()) is None:
            readable, _, _ = select.select([self.socket], [], [], 0)
            if not readable or not self.pull():
                return None
        return found

    def receive(self) -> tuple[Message, list[int]]:
        """Wait for a message.

        Raises:
            ProgramError: the other side has closed.
            TimeoutError: the socket has a timeout, and nothing came.
        """
        while (found := self.next()) is None:
            try:
                alive = self.pull()
            except ConnectionError:
                alive = False
            if not alive:
                raise ProgramError(
                    "the testbed has ended", hint="`testbed ls` lists those that run"
                )
        return found

    def close(self) -> None:
        """Close, together with descriptors nobody took."""
        for descriptor in self._descriptors:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._descriptors = []
        self.socket.close()
