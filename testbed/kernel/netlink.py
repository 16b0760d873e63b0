"""Netlink sockets: batches of requests in one system call, dumps, errors that name their request."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from testbed.errors import KernelError
from testbed.kernel.namespaces import inside

HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
NLMSG_ERROR, NLMSG_DONE = 2, 3
REQUEST, MULTI, ACK, DUMP = 1, 2, 4, 0x300
REPLACE, EXCL, CREATE, APPEND = 0x100, 0x200, 0x400, 0x800
_SOL_NETLINK, _NETLINK_EXT_ACK, _NETLINK_CAP_ACK, _NETLINK_GET_STRICT_CHK = 270, 11, 10, 12
_ACK_TLVS = 0x200
_BATCH_BYTES = 48 * 1024
_RECEIVE_BYTES = 4 << 20
_BUFFER_BYTES = 1 << 20


class Request(NamedTuple):
    """One message to send: its type, flags, body, and what it is about, for error messages."""

    kind: int
    flags: int
    body: bytes
    about: object


class Attributes(dict[int, memoryview]):
    """The attributes of one message by number; the last of a number wins."""

    def u32(self, number: int, default: int = 0) -> int:
        """A 32-bit attribute in host order."""
        value = self.get(number)
        return default if value is None else int.from_bytes(value[:4], "little")

    def text(self, number: int) -> str:
        """A string attribute."""
        value = self.get(number)
        return "" if value is None else bytes(value).rstrip(b"\0").decode()

    def nested(self, number: int) -> Attributes:
        """The attributes inside an attribute."""
        return parse(self.get(number, memoryview(b"")))


def parse(data: memoryview) -> Attributes:
    """The attributes of `data`."""
    found = Attributes()
    at, end = 0, len(data)
    while at + 4 <= end:
        length = data[at] | data[at + 1] << 8
        if length < 4:
            break
        found[(data[at + 2] | data[at + 3] << 8) & 0x3FFF] = data[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


def attribute(number: int, payload: bytes) -> bytes:
    """One encoded attribute, padded."""
    length = 4 + len(payload)
    return struct.pack("=HH", length, number) + payload + b"\0" * (-length % 4)


def u8(number: int, value: int) -> bytes:
    """An 8-bit attribute."""
    return attribute(number, struct.pack("=B", value))


def u32(number: int, value: int) -> bytes:
    """A 32-bit attribute."""
    return attribute(number, struct.pack("=I", value))


def text(number: int, value: str) -> bytes:
    """A string attribute."""
    return attribute(number, value.encode() + b"\0")


class Netlink:
    """A NETLINK_ROUTE socket in one network namespace.

    Args:
        name: of the namespace, for messages.
        net: its descriptor.
    """

    def __init__(self, name: str, net: int) -> None:
        self.name = name
        with inside(net):
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
            )
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
        for option in (_NETLINK_EXT_ACK, _NETLINK_CAP_ACK, _NETLINK_GET_STRICT_CHK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._socket.bind((0, 0))
        self._sequence = 0
        self._buffer = bytearray(_BUFFER_BYTES)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def send(self, requests: Sequence[Request]) -> None:
        """Send requests in batches; all are done when this returns.

        Only the last of a batch asks for an acknowledgement; the kernel reports every error.

        Raises:
            KernelError: the kernel refused one; it is named.
        """
        first = 0
        while first < len(requests):
            size, last = 0, first
            while last < len(requests) and (last == first or size < _BATCH_BYTES):
                size += HEADER.size + len(requests[last].body)
                last += 1
            self._batch(requests[first:last])
            first = last

    def _batch(self, requests: Sequence[Request]) -> None:
        parts = []
        base = self._sequence + 1
        for number, request in enumerate(requests):
            flags = request.flags | REQUEST | (ACK if number == len(requests) - 1 else 0)
            length = HEADER.size + len(request.body)
            parts.append(HEADER.pack(length, request.kind, flags, base + number, 0))
            parts.append(request.body)
        self._sequence = base + len(requests) - 1
        self._socket.send(b"".join(parts))
        for kind, sequence, body in self._replies():
            if kind != NLMSG_ERROR:
                continue
            code = -struct.unpack_from("=i", body)[0]
            if code:
                raise self._refused(requests[sequence - base].about, code, body)
            if sequence == self._sequence:
                return

    def _refused(self, about: object, code: int, body: memoryview) -> KernelError:
        why = parse(body[4 + HEADER.size :]).text(1)
        detail = f" ({why})" if why else ""
        hint = "`testbed doctor` shows what this kernel lacks"
        if code == errno.EEXIST:
            hint = "something has made the same object already"
        return KernelError(
            f"the kernel refused {about} in {self.name}: {os.strerror(code)}{detail}", hint=hint
        )

    def _replies(self) -> Iterator[tuple[int, int, memoryview]]:
        while True:
            size = self._socket.recv_into(self._buffer)
            data = memoryview(bytes(self._buffer[:size]))
            at = 0
            while at < size:
                length, kind, _, sequence, _ = HEADER.unpack_from(data, at)
                yield kind, sequence, data[at + HEADER.size : at + length]
                at += (length + 3) & ~3

    def dump(self, kind: int, body: bytes) -> list[memoryview]:
        """Everything of a kind; the bodies of the answers.

        Raises:
            KernelError: the kernel refused.
        """
        self._sequence += 1
        sequence = self._sequence
        header = HEADER.pack(HEADER.size + len(body), kind, REQUEST | DUMP, sequence, 0)
        self._socket.send(header + body)
        found = []
        for answer, number, content in self._replies():
            if number != sequence:
                continue
            if answer == NLMSG_DONE:
                return found
            if answer == NLMSG_ERROR:
                code = -struct.unpack_from("=i", content)[0]
                raise self._refused(f"a dump of kind {kind}", code, content)
            found.append(content)
        return found

    def get(self, requests: Sequence[tuple[int, bytes]]) -> list[memoryview | None]:
        """One object for each request, in one system call; None where there is none."""
        base = self._sequence + 1
        parts = []
        for number, (kind, body) in enumerate(requests):
            parts.append(HEADER.pack(HEADER.size + len(body), kind, REQUEST, base + number, 0))
            parts.append(body)
        self._sequence = base + len(requests) - 1
        self._socket.send(b"".join(parts))
        answers: list[memoryview | None] = [None] * len(requests)
        missing = len(requests)
        for kind, sequence, body in self._replies():
            if sequence < base:
                continue
            if kind != NLMSG_ERROR:
                answers[sequence - base] = body
            missing -= 1
            if not missing:
                break
        return answers
