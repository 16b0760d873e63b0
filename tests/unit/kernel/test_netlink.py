from __future__ import annotations

import errno
import socket
import struct

import pytest

from testbed.errors import KernelError, UnsupportedError
from testbed.kernel.encoding import question
from testbed.kernel.neighbours import NeighbourWriter
from testbed.kernel.netlink import HEADER, NLMSG_ERROR, Request, RouteSocket
from testbed.kernel.subjects import subject
from testbed.plan.model import Namespace, Neighbour, Neighbours, Plan, Sysctl, Unknown, Veth

NEIGHBOURS = [Neighbour("pe0", "snic0", f"10.1.0.{i}", "02:00:0a:01:00:01") for i in range(250)]


class Kernel:
    """Answers batches as the kernel does: errors by number, and the acknowledgement asked for."""

    def __init__(self, refuse: dict[int, tuple[int, str]]) -> None:
        self.refuse = refuse
        self.batches: list[int] = []
        self.answers: list[bytes] = []
        self.seen = 0
        self.numbers: list[int] = []

    def sendto(self, data: bytes, address: object) -> None:
        at, count = 0, 0
        while at < len(data):
            length, kind, flags, sequence, _ = HEADER.unpack_from(data, at)
            self.numbers.append(sequence)
            number, text = self.refuse.get(self.seen, (0, ""))
            if number or flags & 0x4:
                self.answers.append(answer(number, text, (length, kind, flags, sequence, 0)))
            at, count, self.seen = at + length, count + 1, self.seen + 1
        self.batches.append(count)

    def recvmsg(self, size: int) -> tuple[bytes, list[object], int, None]:
        return self.answers.pop(0), [], 0, None


def answer(number: int, text: str, header: tuple[int, int, int, int, int]) -> bytes:
    body = struct.pack("=i", -number) + HEADER.pack(*header)
    flags = 0x100
    if text:
        packed = text.encode() + b"\0"
        body += struct.pack("=HH", 4 + len(packed), 1) + packed + bytes(-len(packed) % 4)
        flags |= 0x200
    return HEADER.pack(HEADER.size + len(body), NLMSG_ERROR, flags, header[3], 0) + body


def opened(kernel: Kernel) -> RouteSocket:
    made = RouteSocket()
    made.close()
    made._socket = kernel  # type: ignore[assignment]
    return made


def requests(count: int) -> list[Request]:
    return [Request(bytearray(HEADER.pack(32, 28, 1, 0, 0) + bytes(16)), n)
            for n in NEIGHBOURS[:count]]  # fmt: skip


@pytest.mark.parametrize("count", [1, 99, 100, 101, 250])
def test_batches_are_bounded_and_complete(count: int) -> None:
    kernel = Kernel({})
    opened(kernel).submit(requests(count))
    assert sum(kernel.batches) == count
    assert kernel.numbers == [number for size in kernel.batches for number in range(size)]
    assert max(kernel.batches) <= 100
    assert kernel.answers == []


def test_nothing_to_send_sends_nothing() -> None:
    kernel = Kernel({})
    opened(kernel).submit([])
    assert kernel.batches == []


@pytest.mark.parametrize("at", [0, 50, 99, 100, 149])
def test_an_error_names_its_element_and_quotes_the_kernel(at: int) -> None:
    kernel = Kernel({at: (errno.EINVAL, "Something is wrong")})
    with pytest.raises(KernelError) as caught:
        opened(kernel).submit(requests(150))
    expected = f"the kernel refused neighbour 10.1.0.{at} of snic0 in pe0: Invalid argument"
    assert caught.value.message == f"{expected} (Something is wrong)"
    assert sum(kernel.batches) == (100 if at < 100 else 150)  # what follows is not tried


def test_of_several_errors_the_first_is_named_and_the_others_counted() -> None:
    kernel = Kernel({3: (errno.EEXIST, ""), 4: (errno.EINVAL, ""), 9: (errno.EEXIST, "")})
    with pytest.raises(KernelError, match=r"10\.1\.0\.3 .*File exists; 2 more") as caught:
        opened(kernel).submit(requests(10))
    assert "fresh" in caught.value.hint


@pytest.mark.parametrize(
    ("number", "text"),
    [(errno.EOPNOTSUPP, ""), (errno.ENOENT, "Specified qdisc kind is unknown")],
)
def test_what_the_kernel_lacks_is_unsupported(number: int, text: str) -> None:
    with pytest.raises(UnsupportedError, match=r"refused neighbour 10\.1\.0\.0") as caught:
        opened(Kernel({0: (number, text)})).submit(requests(2))
    assert "doctor" in caught.value.hint


def test_of_many_neighbours_the_one_that_is_refused_is_named() -> None:
    entries = frozenset((n.address, n.mac) for n in NEIGHBOURS)
    writer, kernel = NeighbourWriter(), Kernel({250 + 120: (errno.EINVAL, "")})
    route_socket = opened(kernel)
    # The messages of one device serve the next, here of one that has some of the neighbours only.
    writer.write(Neighbours("pe1", "snic0", entries), 1000, route_socket)
    some = frozenset(list(entries)[50:])
    with pytest.raises(KernelError) as caught:
        writer.write(Neighbours("pe0", "snic0", some), 1000, route_socket)
    address = list(some)[120][0]
    assert caught.value.message.startswith(
        f"the kernel refused neighbour {address} of snic0 in pe0"
    )
    assert max(kernel.batches) <= 100


def test_a_socket_is_closed_on_exec_and_at_the_end() -> None:
    with RouteSocket() as made:
        descriptor = made._socket.fileno()
        assert not made._socket.get_inheritable()
    with pytest.raises(OSError):
        socket.socket(fileno=descriptor).getsockname()


@pytest.mark.parametrize(
    ("element", "expected"),
    [
        (Namespace("pe0"), "namespace pe0"),
        (Sysctl("pe0", "net/ipv4/ip_forward", "0"), "sysctl net/ipv4/ip_forward in pe0"),
        (Unknown("pe0", "link", "vlan7", "kind vlan"), "link vlan7 in pe0"),
        (
            Veth("pe0", "snic0", "fabric", "pe0-snic0", "02:00:00:00:00:01", 1500, 1, 1),
            "veth snic0 in pe0 (peer pe0-snic0 in fabric)",
        ),
    ],
)
def test_subjects(element: object, expected: str) -> None:
    assert subject(element) == expected  # type: ignore[arg-type]


def test_every_element_of_a_plan_has_a_subject() -> None:
    from testbed.plan.compile import compile_plan
    from topologies.dualpath import DualPathTopo

    plan: Plan = compile_plan(DualPathTopo(prefill=1, decode=1, gpus=1))
    subjects = {subject(element) for element in plan.elements}
    assert len(subjects) == len(plan.elements)
    assert not any("Element(" in name for name in subjects)


class Dumped:
    """Answers each dump request with the next of some lists of messages.

    Args:
        answers: (text of a message, whether the dump was interrupted by a change) of each dump.
        stale: whether the rest of an earlier dump comes first.
    """

    def __init__(self, *answers: tuple[bytes, bool], stale: bool = False) -> None:
        self.answers = list(answers)
        self.stale = stale
        self.asked = 0
        self.datagrams: list[bytes] = []

    def sendto(self, data: bytes, address: object) -> None:
        _, _, flags, sequence, _ = HEADER.unpack_from(data)
        assert flags == 0x301  # NLM_F_REQUEST | NLM_F_DUMP
        self.asked += 1
        text, changed = self.answers.pop(0)
        interrupted = 0x10 * changed
        done = HEADER.pack(HEADER.size + 4, 3, 0x2, sequence, 0) + bytes(4)
        message = HEADER.pack(HEADER.size + len(text), 16, 0x2 | interrupted, sequence, 0) + text
        if self.stale:
            late = HEADER.pack(HEADER.size + 4, 16, 0x2, sequence - 1, 0) + b"late"
            end = HEADER.pack(HEADER.size + 4, 3, 0x2, sequence - 1, 0) + bytes(4)
            self.datagrams.append(late + end)
        self.datagrams += [message, done]

    def recvmsg(self, size: int) -> tuple[bytes, list[object], int, None]:
        return self.datagrams.pop(0), [], 0, None


def dumped(kernel: Dumped) -> list[bytes]:
    made = opened(kernel)  # type: ignore[arg-type]
    return [message[HEADER.size :] for message in made.dump(question(18, b"all "))]


def test_what_changed_while_it_was_read_is_read_again() -> None:
    kernel = Dumped((b"half", True), (b"torn", True), (b"full", False))
    assert dumped(kernel) == [b"full"]
    assert kernel.asked == 3


def test_what_never_stops_changing_is_an_error() -> None:
    kernel = Dumped(*[(b"half", True)] * 100)
    with pytest.raises(KernelError, match="changed while they were read"):
        dumped(kernel)
    assert 1 < kernel.asked < 100


def test_the_rest_of_a_dump_that_was_given_up_is_passed_over() -> None:
    assert dumped(Dumped((b"full", False), stale=True)) == [b"full"]
