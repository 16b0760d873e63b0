"""Messages and descriptors over a local socket."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest

from testbed import errors
from testbed.errors import ConflictError, ProgramError
from testbed.sandbox.client import rebuilt
from testbed.sandbox.program import Program
from testbed.sandbox.protocol import (
    MOST_DESCRIPTORS,
    Connection,
    Done,
    Exited,
    Failed,
    GarbledError,
    Spawn,
    Value,
)

Pair = tuple[Connection, Connection]


@pytest.fixture
def pair() -> Iterator[Pair]:
    here, there = (Connection(end) for end in socket.socketpair())
    yield here, there
    here.close()
    there.close()


def test_a_message_arrives_as_it_was_sent(pair: Pair) -> None:
    here, there = pair
    program = Program(("a", "é"), "h1", environment={"K": "v"}, cwd="/", scope="n", broker=True)
    here.send(Spawn(program, tty=True))
    assert there.receive() == (Spawn(program, tty=True), [])


def test_a_message_larger_than_the_socket_takes_arrives_whole(pair: Pair) -> None:
    here, there = pair
    big = Value(os.urandom(1 << 21))
    writer = threading.Thread(target=here.send, args=(big,))
    writer.start()
    assert there.receive() == (big, [])
    writer.join()


def test_descriptors_come_along_and_refer_to_the_same_files(pair: Pair) -> None:
    here, there = pair
    read, write = os.pipe()
    here.send(Done(), [write] * MOST_DESCRIPTORS)
    _, descriptors = there.receive()
    assert len(set(descriptors)) == MOST_DESCRIPTORS
    os.write(descriptors[-1], b"through")
    assert os.read(read, 100) == b"through"
    for descriptor in (read, write, *descriptors):
        os.close(descriptor)


def test_descriptors_stay_with_the_message_they_were_sent_with(pair: Pair) -> None:
    here, there = pair
    here.send(Exited(0, 1))
    here.send(Done(), [0])
    here.send(Exited(0, 2))
    got = [there.receive() for _ in range(3)]
    assert [len(descriptors) for _, descriptors in got] == [0, 1, 0]
    os.close(got[1][1][0])


def test_received_descriptors_are_not_inherited(pair: Pair) -> None:
    here, there = pair
    here.send(Done(), [0])
    _, (descriptor,) = there.receive()
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


@pytest.mark.parametrize(
    "garbage",
    [b"\xff\xff\xff\xff\0\0\0\0", b"\x03\0\0\0\0\0\0\0abc", b"\0\0\0\0\0\0\0\0"],
    ids=["a huge length", "not MessagePack", "an empty body"],
)
def test_garbage_is_refused(pair: Pair, garbage: bytes) -> None:
    here, there = pair
    here.socket.sendall(garbage)
    with pytest.raises(GarbledError):
        there.receive()


def test_lost_descriptors_are_noticed(pair: Pair) -> None:
    here, there = pair
    other, end = (Connection(one) for one in socket.socketpair())
    other.send(Done(), [0])
    data = end.socket.recv(1000)  # without room for descriptors the kernel drops them
    here.socket.sendall(data)
    with pytest.raises(GarbledError, match="1 descriptors were sent and 0 arrived"):
        there.receive()
    other.close()
    end.close()


def test_the_end_of_the_other_side_is_said(pair: Pair) -> None:
    here, there = pair
    here.close()
    with pytest.raises(ProgramError, match="has ended"):
        there.receive()


def test_an_error_arrives_as_the_exception_it_was() -> None:
    error = rebuilt(Failed.of(ConflictError("two of them", hint="end one")))
    assert type(error) is ConflictError
    assert (error.message, error.hint) == ("two of them", "end one")


def test_a_parts_own_error_arrives_as_what_it_is_derived_from() -> None:
    error = rebuilt(Failed.of(GarbledError("what?")))
    assert type(error) is errors.ProgramError
