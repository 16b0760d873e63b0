"""A netlink socket that sends messages in batches and knows what each of them was for.

Most messages ask for no acknowledgement: the kernel reports an error of any message by its
sequence number, and the acknowledgement of the last one says that all were dealt with
(netlink(7), RFC 3549 section 2.3).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import NamedTuple, Self

from testbed.errors import CapacityError, KernelError, TestbedError, UnsupportedError
from testbed.kernel.namespaces import returning, setns
from testbed.kernel.subjects import subject
from testbed.plan.model import AnyElement

HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence number, port id
_ERROR = struct.Struct("=iIHHII")  # errno, then the header of the message at fault
_SEQUENCE, _FLAGS = struct.Struct("=I"), struct.Struct("=H")
_SEQUENCE_OFFSET, _FLAGS_OFFSET = 8, 6
_ATTRIBUTE = struct.Struct("=HH")
NLM_F_REQUEST, NLM_F_ACK, NLM_F_ECHO, NLM_F_DUMP = 0x1, 0x4, 0x8, 0x300
NLM_F_DUMP_INTR = 0x10
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200
NLMSG_ERROR, NLMSG_DONE = 2, 3
SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK = 270, 10, 11, 12
_EXTACK_TEXT = 1
_RECEIVE_BYTES = 1 << 18  # the kernel fills at most 32 KiB at a time
# Every message of a batch may fail, and an error takes about 1 KiB of the receive buffer.
BATCH_MESSAGES, _BATCH_BYTES = 100, 1 << 16
_DUMP_ATTEMPTS = 8


class Request(NamedTuple):
    """A message and the object that it makes; the sequence number is filled in when sent."""

    message: bytearray
    element: AnyElement


class Refusal(NamedTuple):
    """The kernel's answer to one message."""

    sequence: int
    number: int  # errno
    text: str  # what the kernel says about it, perhaps empty


class RouteSocket:
    """A NETLINK_ROUTE socket of the network namespace that the caller is in when it is made."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.bind((0, 0))
        for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK):
            self._socket.setsockopt(SOL_NETLINK, option, 1)
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()

    def close(self) -> None:
        """Give the descriptor back."""
        self._socket.close()

    def submit(self, requests: Sequence[Request]) -> None:
        """Send messages in order; return when the kernel has carried out all of them.

        Raises:
            KernelError: one was refused (the message names its element), or several.
        """
        start = 0
        while start < len(requests):
            size_bytes, end = 0, start
            while end < len(requests) and end - start < BATCH_MESSAGES:
                size_bytes += len(requests[end].message)
                if size_bytes > _BATCH_BYTES and end > start:
                    break
                end += 1
            self._submit_batch(requests[start:end])
            start = end

    def _submit_batch(self, batch: Sequence[Request]) -> None:
        data = number_messages([request.message for request in batch])
        self.exchange(data, len(batch) - 1, lambda number: batch[number].element)

    def exchange(
        self, data: bytes | bytearray, last: int, element: Callable[[int], AnyElement]
    ) -> None:
        """Send messages, the last of which asks for an answer.

        Args:
            data: the messages, back to back, at most `BATCH_MESSAGES` of them.
            last: the sequence number of the last.
            element: what each of them makes, by its number; for the message of an error.
        """
        self._send(data)
        refusals = []
        while True:
            for message in self._receive():
                _, kind, flags, sequence, _ = HEADER.unpack_from(message)
                if kind != NLMSG_ERROR:
                    continue
                (number,) = struct.unpack_from("=i", message, HEADER.size)
                if number:
                    refusals.append(Refusal(sequence, -number, _extack(message, flags)))
                if sequence == last:
                    if refusals:
                        raise _kernel_error(refusals, element)
                    return

    def try_one(self, message: bytes) -> int:
        """Send one message; returns the error number that it met, 0 if none."""
        numbered = number_messages([bytearray(message)])
        self._send(numbered)
        for answer in self._receive():
            if HEADER.unpack_from(answer)[1] == NLMSG_ERROR:
                return -int(struct.unpack_from("=i", answer, HEADER.size)[0])
        raise KernelError("the kernel did not answer a netlink message")

    def dump(self, request: bytes) -> list[bytes]:
        """All messages that answer a dump request; its flags and number are filled in.

        Raises:
            OSError: the kernel refused.
            KernelError: what is dumped changed under it, time and again.
        """
        for _ in range(_DUMP_ATTEMPTS):
            answers = self._dump_once(bytearray(request))
            if answers is not None:
                return answers
        raise KernelError(
            "the kernel's objects changed while they were read",
            hint="something else configures this network; stop it and try again",
        )

    def _dump_once(self, request: bytearray) -> list[bytes] | None:
        self._sequence += 1
        _FLAGS.pack_into(request, _FLAGS_OFFSET, NLM_F_REQUEST | NLM_F_DUMP)
        _SEQUENCE.pack_into(request, _SEQUENCE_OFFSET, self._sequence)
        self._send(bytes(request))
        answers: list[bytes] = []
        consistent, unpack = True, HEADER.unpack_from
        while True:
            data, position = self._datagram(), 0
            while position < len(data):  # tens of thousands of times: no generator here
                length, kind, flags, sequence, _ = unpack(data, position)
                message = data[position : position + length]
                position += length + 3 & ~3
                if sequence != self._sequence:
                    continue  # the rest of a dump that was given up
                if flags & NLM_F_DUMP_INTR:
                    consistent = False
                if kind in (NLMSG_DONE, NLMSG_ERROR):
                    (number,) = struct.unpack_from("=i", message, HEADER.size)
                    if number:
                        raise OSError(-number, _extack(message, flags) or os.strerror(-number))
                    return answers if consistent else None
                answers.append(message)

    def ask(self, requests: Sequence[bytes]) -> list[bytes | None]:
        """Answers to requests that have one message as answer each, None where refused.

        Args:
            requests: messages; their flags and numbers are filled in.  All answers must fit
                into the receive buffer, see `reserve`.
        """
        if not requests:
            return []
        answers: list[bytes | None] = [None] * len(requests)
        data, first = bytearray(), self._sequence + 1
        for number, request in enumerate(requests):
            start = len(data)
            data += request
            # Some kernels send a qdisc or a class only to those who want an echo.
            _FLAGS.pack_into(data, start + _FLAGS_OFFSET, NLM_F_REQUEST | NLM_F_ECHO)
            _SEQUENCE.pack_into(data, start + _SEQUENCE_OFFSET, first + number)
        self._sequence += len(requests)
        self._send(bytes(data))
        missing = len(requests)
        while missing:
            for message in self._receive():
                _, kind, _, sequence, _ = HEADER.unpack_from(message)
                if 0 <= sequence - first < len(requests):
                    answers[sequence - first] = message if kind != NLMSG_ERROR else None
                    missing -= 1
        return answers

    def reserve(self, size_bytes: int) -> int:
        """Ask for a receive buffer; returns what the kernel granted, in bytes."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size_bytes)
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    def _send(self, data: bytes | bytearray) -> None:
        self._socket.sendto(data, (0, 0))

    def _datagram(self) -> bytes:
        data, _, flags, _ = self._socket.recvmsg(_RECEIVE_BYTES)
        if flags & socket.MSG_TRUNC:
            raise KernelError("an answer of the kernel did not fit and was cut off")
        return data

    def _receive(self) -> Iterator[bytes]:
        data, position = self._datagram(), 0
        while position < len(data):
            (length,) = _SEQUENCE.unpack_from(data, position)
            yield data[position : position + length]
            position += length + 3 & ~3


def number_messages(batch: Sequence[bytearray]) -> bytes:
    """Messages as one batch: numbered from 0, and the last asks for an answer."""
    for number, message in enumerate(batch):
        _SEQUENCE.pack_into(message, _SEQUENCE_OFFSET, number)
    (flags,) = _FLAGS.unpack_from(batch[-1], _FLAGS_OFFSET)
    _FLAGS.pack_into(batch[-1], _FLAGS_OFFSET, flags | NLM_F_ACK)
    return b"".join(batch)


def number_message(message: bytearray, number: int) -> None:
    """Give a message its sequence number."""
    _SEQUENCE.pack_into(message, _SEQUENCE_OFFSET, number)


def want_answer(data: bytearray, start: int) -> None:
    """Have the message at a place in a batch, its last, ask for an answer."""
    at = start + _FLAGS_OFFSET
    _FLAGS.pack_into(data, at, _FLAGS.unpack_from(data, at)[0] | NLM_F_ACK)


def _extack(message: bytes, flags: int) -> str:
    """The kernel's own words about an error, if it has any (NETLINK_EXT_ACK)."""
    if not flags & NLM_F_ACK_TLVS:
        return ""
    position = HEADER.size + 4 + HEADER.size
    if not flags & NLM_F_CAPPED:
        position = HEADER.size + 4 + (_ERROR.unpack_from(message, HEADER.size)[1] + 3 & ~3)
    while position + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, position)
        if length < _ATTRIBUTE.size:
            break
        if kind == _EXTACK_TEXT:
            return message[position + 4 : position + length].rstrip(b"\0").decode(errors="replace")
        position += length + 3 & ~3
    return ""


_HINTS = {
    errno.EPERM: "this needs CAP_NET_ADMIN in the namespace; run `testbed doctor`",
    errno.EEXIST: "an object of that name was there before; the namespace must be a fresh one",
    errno.EADDRINUSE: "an object of that name was there before; the namespace must be a fresh one",
    errno.ENOMEM: "the machine is out of memory; stop other testbeds or make this one smaller",
    errno.ENFILE: "too many open files on this machine",
}
# What the kernel answers when a module is missing.
_MISSING = (errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT)


def _kernel_error(
    refusals: Sequence[Refusal], element: Callable[[int], AnyElement]
) -> TestbedError:
    first = min(refusals)
    what = subject(element(first.sequence))
    message = f"the kernel refused {what}: {os.strerror(first.number)}"
    if first.text:
        message += f" ({first.text})"
    if len(refusals) > 1:
        message += f"; {len(refusals) - 1} more of the same batch were refused too"
    unknown_kind = first.number == errno.ENOENT and "unknown" in first.text.lower()
    if first.number in _MISSING or unknown_kind:
        return UnsupportedError(
            message, hint="this kernel lacks what is needed; `testbed doctor` says what and how"
        )
    return KernelError(message, hint=_HINTS.get(first.number, "run `testbed doctor`"))


def route_socket() -> RouteSocket:
    """A socket of the network namespace that the caller is in.

    Raises:
        CapacityError: this process has too many files open.
    """
    try:
        return RouteSocket()
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        raise CapacityError(
            f"cannot open a netlink socket: {error.strerror}",
            hint="raise the limit (`ulimit -n`); a namespace needs about six descriptors",
        ) from error


@contextmanager
def route_sockets(
    namespaces: Mapping[str, int], names: Iterable[str]
) -> Iterator[dict[str, RouteSocket]]:
    """A socket in each of some namespaces.

    Args:
        namespaces: name -> descriptor of the network namespace.
        names: which of them.
    """
    with ExitStack() as stack:
        sockets = {}
        with returning():
            for name in names:
                setns(namespaces[name])
                sockets[name] = stack.enter_context(route_socket())
        yield sockets
