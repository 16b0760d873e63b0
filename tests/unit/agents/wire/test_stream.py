"""The transport over real sockets on the loopback: every byte where it belongs, or an error."""

from __future__ import annotations

import asyncio
import random
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agents.wire.header import HEADER_BYTES, LANE_TOS, LANES, WRITE, Header, HeaderError, encode
from agents.wire.pair import StreamPair, set_lane
from agents.wire.stream import StreamTransport
from agents.wire.transport import Completion, Failed, FileRange, Received, Sent, WriteRequest
from testbed.errors import ProgramError, UsageError

TIMEOUT_S = 30.0


class End:
    """A transport, its completions, and the peers that have introduced themselves.

    Args:
        loop: of both ends; it runs while a test waits.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.transport = StreamTransport(loop)
        self.transport.on_completions(self._deliver)
        self.completions: list[Completion] = []
        self.pairs: dict[str, StreamPair] = {}
        self._loop = loop
        self._changed = asyncio.Event()

    def _deliver(self, batch: list[Completion]) -> None:
        self.completions += batch
        self._changed.set()

    def on_peer(self, name: str, pair: StreamPair) -> None:
        self.pairs[name] = pair
        self._changed.set()

    def wait(self, condition: Callable[[], bool]) -> None:
        async def until() -> None:
            while not condition():
                self._changed.clear()
                await self._changed.wait()

        self._loop.run_until_complete(asyncio.wait_for(until(), TIMEOUT_S))

    def of(self, kind: type) -> list[Completion]:
        return [c for c in self.completions if isinstance(c, kind)]

    def wait_for(self, kind: type, count: int = 1) -> list[Completion]:
        self.wait(lambda: len(self.of(kind)) >= count or (kind is not Failed and self.failed))
        assert kind is Failed or not self.failed, self.failures
        return self.of(kind)

    @property
    def failed(self) -> bool:
        return bool(self.of(Failed))

    @property
    def failures(self) -> list[str]:
        return [c.reason for c in self.completions if isinstance(c, Failed)]

    def region(self, size: int) -> tuple[int, bytearray]:
        memory = bytearray(size)
        return self.transport.register(memoryview(memory)), memory


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


@pytest.fixture
def ends(loop: asyncio.AbstractEventLoop) -> Iterator[tuple[End, End, tuple[str, int]]]:
    """caller --lo--> called, which listens at the address."""
    caller, called = End(loop), End(loop)
    server = socket.create_server(("127.0.0.1", 0), backlog=1024)
    address = server.getsockname()
    called.transport.listen(server, called.on_peer)
    yield caller, called, address
    caller.transport.close()
    called.transport.close()


Ends = tuple[End, End, tuple[str, int]]


def call(end: End, address: tuple[str, int], name: str, lane: str = "kv") -> StreamPair:
    sock = socket.socket()
    sock.connect(address)
    return end.transport.adopt(sock, name, lane=lane, hello=f"to {name}")


def write(data: bytes | memoryview, key: int, offset: int, immediate: int = 0) -> WriteRequest:
    view = memoryview(data)
    return WriteRequest([view], key, offset, view.nbytes, immediate, request=1)


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def test_a_write_lands_where_it_is_told(ends: Ends) -> None:
    caller, called, address = ends
    key, memory = called.region(1000)
    pair = call(caller, address, "a")
    before_s = time.monotonic()
    request = WriteRequest(
        [memoryview(b"abc"), memoryview(b""), memoryview(b"defg")], key, 100, 7, 2**64 - 1, 5,
        layer_first=8, layer_count=4, path=2, digest=77,
    )  # fmt: skip
    pair.post([request])
    (received,) = called.wait_for(Received)
    (sent,) = caller.wait_for(Sent)
    after_s = time.monotonic()
    assert memory == bytes(100) + b"abcdefg" + bytes(893)
    assert isinstance(received, Received)
    assert received[:10] == (2**64 - 1, 5, 8, 4, 2, 77, key, 100, 7, "to a")
    assert before_s <= received.posted_s <= received.first_byte_s
    assert received.first_byte_s <= received.last_byte_s <= after_s
    assert sent == Sent(2**64 - 1, 5, 7, "a")


def test_both_ends_may_write(ends: Ends) -> None:
    caller, called, address = ends
    there, here = called.region(100), caller.region(100)
    pair = call(caller, address, "a")
    pair.post([write(b"there", there[0], 0)])
    called.wait(lambda: "to a" in called.pairs)
    called.pairs["to a"].post([write(b"here", here[0], 96)])
    called.wait_for(Received)
    (received,) = caller.wait_for(Received)
    assert isinstance(received, Received)
    assert received.peer == "a"
    assert there[1].startswith(b"there")
    assert here[1].endswith(b"here")


def test_a_peer_is_known_before_what_it_writes(ends: Ends) -> None:
    _, called, _ = ends
    key, _ = called.region(10)
    known: list[bool] = []
    server = socket.create_server(("127.0.0.1", 0))

    def on_peer(name: str, pair: StreamPair) -> None:
        known.append(not called.of(Received))
        called.on_peer(name, pair)

    called.transport.listen(server, on_peer)
    with stranger(server.getsockname(), hello(b"b") + a_write(key, b"0123456789")):
        called.wait_for(Received)
        assert known == [True]


def test_many_queue_pairs_at_once(ends: Ends) -> None:
    """200 queue pairs, each with writes of very different sizes, all into one region."""
    caller, called, address = ends
    pairs, per_pair, share = 200, 12, 40_000
    key, memory = called.region(pairs * share)
    expected = bytearray(pairs * share)
    rng = random.Random(1)
    for number in range(pairs):
        at = number * share
        batch = []
        for index in range(per_pair):
            data = noise(
                rng.choice([0, 1, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 1, 1000, 3000]),
                seed=number * 100 + index,
            )
            expected[at : at + len(data)] = data
            batch.append(write(data, key, at, immediate=number << 16 | index))
            at += len(data)
        pair = call(caller, address, f"{number}")
        pair.post(batch[:5])
        pair.post(batch[5:])
    called.wait_for(Received, pairs * per_pair)
    assert memory == expected
    order: dict[int, list[int]] = {}
    for received in called.of(Received):
        assert isinstance(received, Received)
        number, index = received.immediate >> 16, received.immediate & 0xFFFF
        assert received.peer == f"to {number}"
        order.setdefault(number, []).append(index)
    assert order == {number: list(range(per_pair)) for number in range(pairs)}
    caller.wait_for(Sent, pairs * per_pair)


def test_writes_complete_in_order_on_both_sides(ends: Ends) -> None:
    caller, called, address = ends
    key, memory = called.region(4 << 20)
    data = noise(4 << 20)
    pair = call(caller, address, "a")
    sizes = [1, 300_000, 64, 200_000, 0, 128, 1_000_000]
    at, batch = 0, []
    for index, size in enumerate(sizes):
        batch.append(write(memoryview(data)[at : at + size], key, at, index))
        at += size
    pair.post(batch)
    received = called.wait_for(Received, len(sizes))
    sent = caller.wait_for(Sent, len(sizes))
    assert [c.immediate for c in received] == [c.immediate for c in sent] == list(range(7))
    assert [c.length for c in received] == sizes
    assert memory[:at] == data[:at]
    ends_s = [c.last_byte_s for c in received if isinstance(c, Received)]
    assert ends_s == sorted(ends_s)


def test_ranges_of_files_and_memory_mix(ends: Ends, tmp_path: Path) -> None:
    caller, called, address = ends
    data = noise(3_000_000)
    (tmp_path / "file").write_bytes(data)
    key, memory = called.region(3_000_000)
    with (tmp_path / "file").open("rb") as file:
        pieces = [
            memoryview(data)[:1000],
            FileRange(file.fileno(), 1000, 1_500_000),
            FileRange(file.fileno(), 1_501_000, 0),
            memoryview(data)[1_501_000:1_501_003],
            FileRange(file.fileno(), 1_501_003, len(data) - 1_501_003),
        ]
        pair = call(caller, address, "a")
        pair.post([WriteRequest(pieces, key, 0, len(data), 1, 1)])
        called.wait_for(Received)
        caller.wait_for(Sent)
    assert memory == data


def test_a_file_that_is_too_short_breaks_the_pair(ends: Ends, tmp_path: Path) -> None:
    caller, called, address = ends
    (tmp_path / "file").write_bytes(noise(1000))
    key, _ = called.region(5000)
    with (tmp_path / "file").open("rb") as file:
        pair = call(caller, address, "a")
        pair.post([WriteRequest([FileRange(file.fileno(), 0, 2000)], key, 0, 2000, 1, 1)])
        caller.wait_for(Failed)
        called.wait_for(Failed)
    assert "a file ends 1000 bytes before" in caller.failures[0]
    assert "1 messages were not sent" in caller.failures[0]
    assert "after 1000 of the 2000 bytes" in called.failures[0]
    assert not called.of(Received)


def test_the_sender_waits_for_a_slow_receiver(ends: Ends) -> None:
    """Far more than all socket buffers hold is posted; nothing is lost."""
    caller, called, address = ends
    key, memory = called.region(1 << 20)
    data = noise(1 << 20)
    pair = call(caller, address, "a")
    pair.post([write(data, key, 0, n) for n in range(64)])
    assert [c.immediate for c in called.wait_for(Received, 64)] == list(range(64))
    assert memory == data


def test_accounts_count_headers_on_both_ends(ends: Ends) -> None:
    caller, called, address = ends
    key, _ = called.region(1000)
    pair = call(caller, address, "a")
    pair.post([write(bytes(300), key, 0), write(bytes(700), key, 300)])
    called.wait_for(Received, 2)
    caller.wait_for(Sent, 2)
    size = 3 * HEADER_BYTES + len("to a") + 1000
    assert caller.transport.accounts() == {"a": (size, 0)}
    assert called.transport.accounts() == {"to a": (0, size)}
    caller.transport.close()
    called.wait_for(Failed)
    assert called.failures == ["the peer closed it"]
    assert caller.transport.accounts() == {"a": (size, 0)}
    assert called.transport.accounts() == {"to a": (0, size)}


@pytest.mark.parametrize("lane", ["model", "kv"])
def test_both_ends_send_in_the_lane(ends: Ends, lane: str) -> None:
    caller, called, address = ends
    pair = call(caller, address, "a", lane)
    called.wait(lambda: "to a" in called.pairs)
    for end in (pair, called.pairs["to a"]):
        assert end.lane == lane
        assert end.socket.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == LANE_TOS[lane]


def test_there_are_two_lanes() -> None:
    with socket.socket() as sock, pytest.raises(UsageError, match="no lane 'fast'"):
        set_lane(sock, "fast")


# --- what a peer may not do --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offset", "length", "reason"),
    [
        (900, 101, "bytes 900…1001 of region"),
        (1001, 0, "bytes 1001…1001 of region"),
        (2**64 - 1, 10, "which has 1000"),
    ],
)
def test_a_write_outside_the_region_breaks_the_pair(
    ends: Ends, offset: int, length: int, reason: str
) -> None:
    caller, called, address = ends
    key, memory = called.region(1000)
    guard = memory[:]
    pair = call(caller, address, "a")
    pair.post([write(b"\xff" * length, key, offset)])
    called.wait_for(Failed)
    assert reason in called.failures[0]
    assert memory == guard
    assert not called.of(Received)


def test_a_write_to_no_region_breaks_only_its_pair(ends: Ends) -> None:
    caller, called, address = ends
    key, memory = called.region(10)
    gone, _ = called.region(10)
    called.transport.deregister(gone)
    good, bad = call(caller, address, "good"), call(caller, address, "bad")
    bad.post([write(b"x", gone, 0)])
    called.wait_for(Failed)
    assert f"region {gone:#x}, which is not registered" in called.failures[0]
    assert [c.peer for c in called.of(Failed)] == ["to bad"]
    called.completions.clear()
    good.post([write(b"0123456789", key, 0)])
    called.wait_for(Received)
    assert memory == b"0123456789"


def test_keys_of_two_processes_differ(ends: Ends) -> None:
    caller, called, _ = ends
    assert caller.region(1)[0] != called.region(1)[0]


def stranger(address: tuple[str, int], data: bytes) -> socket.socket:
    sock = socket.create_connection(address)
    sock.sendall(data)
    return sock


def hello(name: bytes = b"x", sequence: int = 0) -> bytes:
    header = Header(1, LANES["kv"], 0, 0, sequence, 0, 0, 0, 0, 0, len(name), 0, 0)
    return encode(header) + name


def a_write(key: int, payload: bytes, sequence: int = 1, lane: str = "kv") -> bytes:
    header = Header(WRITE, LANES[lane], 0, 0, sequence, 0, 0, 1, key, 0, len(payload), 0, 0)
    return encode(header) + payload


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n".ljust(HEADER_BYTES), "not a header: it begins with b'GET '"),
        (hello(b"\xff\xfe"), "not UTF-8"),
        (a_write(1, b"x", sequence=0), "a write before HELLO"),
        (hello(sequence=3), "message 3 came when 0 was due"),
    ],
    ids=["http", "name", "write", "sequence"],
)
def test_who_does_not_introduce_itself_is_shown_out(ends: Ends, data: bytes, reason: str) -> None:
    _, called, address = ends
    with stranger(address, data) as sock:
        called.wait_for(Failed)
        assert reason in called.failures[0]
        assert "before it introduced itself" in called.failures[0]
        assert not called.pairs
        hung_up = select.poll()
        hung_up.register(sock, select.POLLRDHUP)
        assert hung_up.poll(1000 * TIMEOUT_S)


@pytest.mark.parametrize(
    ("after_hello", "reason"),
    [
        (hello(sequence=1), "a second HELLO"),
        (bytes(HEADER_BYTES), "not a header"),
        (a_write(1, b"x", lane="model"), "a write of lane model on lane kv"),
        (a_write(1, b"x", sequence=2), "message 2 came when 1 was due"),
        (a_write(1, b"x")[:30], "in the middle of a header"),
    ],
    ids=["hello", "zeros", "lane", "sequence", "cut"],
)
def test_what_is_no_write_breaks_the_pair(ends: Ends, after_hello: bytes, reason: str) -> None:
    _, called, address = ends
    stranger(address, hello(b"peer") + after_hello).close()
    called.wait_for(Failed)
    assert reason in called.failures[0]
    assert [c.peer for c in called.of(Failed)] == ["peer"]
    assert not called.of(Received)


def test_one_wrong_byte_in_a_header_breaks_the_pair(ends: Ends) -> None:
    _, called, address = ends
    key, memory = called.region(1000)
    for at in range(0, HEADER_BYTES, 7):
        data = bytearray(a_write(key, b"\xff" * 100))
        data[at] ^= 0x10
        called.completions.clear()
        with stranger(address, hello(b"peer") + data):
            called.wait_for(Failed)
        assert not called.of(Received)
    assert memory == bytes(1000)


@pytest.mark.parametrize("reset", [False, True], ids=["closes", "resets"])
def test_a_peer_that_dies_in_a_write_completes_nothing(ends: Ends, reset: bool) -> None:
    _, called, address = ends
    key, memory = called.region(1000)
    data = a_write(key, b"\x11" * 1000)
    sock = stranger(address, hello(b"peer") + data[:-400])
    called.wait(lambda: "peer" in called.pairs)
    if reset:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    called.wait_for(Failed)
    assert not called.of(Received)
    assert ("reset by peer" if reset else "after 600 of the 1000 bytes") in called.failures[0]
    assert memory[600:] == bytes(400)


def test_a_connection_that_dies_before_hello_is_no_peer(ends: Ends) -> None:
    _, called, address = ends
    stranger(address, hello()[:10]).close()
    called.wait_for(Failed)
    assert "in the middle of a header" in called.failures[0]
    assert not called.pairs


def test_posts_to_a_dead_peer_say_so(ends: Ends) -> None:
    caller, called, address = ends
    pair = call(caller, address, "a")
    called.wait(lambda: "to a" in called.pairs)
    called.transport.close()
    caller.wait_for(Failed)
    assert caller.failures == ["the peer closed it"]
    pair.post([write(b"x" * 100, 1, 0)])  # nothing completes on a broken pair
    caller.transport.close()  # ... up to the end
    assert len(caller.completions) == 1


# --- what the caller may not do ----------------------------------------------------------------


def test_a_post_that_makes_no_sense_is_refused_whole(ends: Ends) -> None:
    caller, called, address = ends
    key, memory = called.region(10)
    pair = call(caller, address, "a")
    good = write(b"0123", key, 0)
    with pytest.raises(UsageError, match="4 bytes have 3"):
        pair.post([good, good._replace(sources=[memoryview(b"012")])])
    with pytest.raises(UsageError, match="contiguous"):
        pair.post([good, good._replace(sources=[memoryview(b"01234567")[::2]])])
    with pytest.raises(UsageError, match="not a range"):
        pair.post([good._replace(sources=[FileRange(0, -1, 4)])])
    with pytest.raises(HeaderError, match="path 99"):
        pair.post([good, good._replace(path=99)])
    pair.post([write(b"abcd", key, 2)])  # the sequence has no gap
    called.wait_for(Received)
    assert memory == b"\0\0abcd\0\0\0\0"


def test_memory_must_be_writable_to_be_a_region(loop: asyncio.AbstractEventLoop) -> None:
    transport = StreamTransport(loop)
    with pytest.raises(UsageError, match="writable"):
        transport.register(memoryview(b"abc"))
    with pytest.raises(UsageError, match="contiguous"):
        transport.register(memoryview(bytearray(10))[::2])
    with pytest.raises(UsageError, match="not registered"):
        transport.deregister(1)
    transport.close()


def test_somebody_must_receive_completions(loop: asyncio.AbstractEventLoop) -> None:
    transport = StreamTransport(loop)
    with socket.socket() as sock, pytest.raises(UsageError, match="on_completions first"):
        transport.adopt(sock, "a")
    transport.close()


def test_a_name_must_fit(ends: Ends) -> None:
    caller, _, address = ends
    with socket.create_connection(address) as sock, pytest.raises(UsageError, match="1 to 255"):
        caller.transport.adopt(sock, "é" * 128)


# --- the end -----------------------------------------------------------------------------------


def test_an_exception_in_its_progress_is_not_lost(
    ends: Ends, loop: asyncio.AbstractEventLoop
) -> None:
    caller, called, address = ends
    reported: list[object] = []
    loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))
    fail = RuntimeError("a defect")
    key, _ = called.region(10)
    first = call(caller, address, "a")
    called.wait(lambda: "to a" in called.pairs)
    seen: list[Completion] = []

    def deliver(batch: list[Completion]) -> None:
        seen.extend(batch)
        raise fail

    called.transport.on_completions(deliver)
    first.post([write(b"x", key, 0)])
    caller.wait_for(Failed)  # the other end sees the connection go
    with pytest.raises(ProgramError, match="a defect") as caught:
        called.transport.close()
    assert caught.value.__cause__ is fail
    assert [type(c) for c in seen] == [Received, Failed]
    assert isinstance(seen[1], Failed)
    assert "the transport failed: RuntimeError('a defect')" in seen[1].reason
    assert reported == [fail]
    called.transport.close()  # raised once


def test_a_closed_transport_takes_nothing_more(ends: Ends) -> None:
    caller, _, address = ends
    pair = call(caller, address, "a")
    caller.transport.close()
    pair.post([write(b"x", 1, 0)])
    with socket.create_connection(address) as sock, pytest.raises(ProgramError, match="closed"):
        caller.transport.adopt(sock, "b")


def test_closing_leaves_no_descriptor(loop: asyncio.AbstractEventLoop) -> None:
    def descriptors() -> set[str]:
        return {entry.name for entry in Path("/proc/self/fd").iterdir()}

    before = descriptors()
    caller, called = End(loop), End(loop)
    server = socket.create_server(("127.0.0.1", 0))
    address = server.getsockname()
    called.transport.listen(server, called.on_peer)
    for number in range(5):
        call(caller, address, f"{number}")
    silent = stranger(address, b"")
    called.wait(lambda: len(called.pairs) == 5)
    caller.transport.close()
    called.transport.close()
    silent.close()
    assert descriptors() <= before


def test_the_loop_sleeps_when_there_is_nothing_to_do(
    ends: Ends, loop: asyncio.AbstractEventLoop
) -> None:
    """A queue pair that waits to write, or has just received, must not spin."""
    caller, called, address = ends
    key, _ = called.region(300_000)
    pair = call(caller, address, "a")
    pair.post([write(noise(300_000), key, 0)])
    called.wait_for(Received)
    caller.wait_for(Sent)
    for end in (caller, called):
        end.transport._wake(next(iter(end.transport._pairs.values())))
        readable = select.poll()
        readable.register(end.transport._epoll.fileno(), select.POLLIN)
        loop.run_until_complete(asyncio.sleep(0))  # one turn of the loop: what was posted is taken
        assert not readable.poll(0)
        assert not any(p.waits_to_write for p in end.transport._pairs.values())


def test_nothing_lands_by_a_queue_pair_that_was_disconnected(ends: Ends) -> None:
    """What was sent and not received, and what was posted and not sent, never arrives."""
    caller, called, address = ends
    key, memory = called.region(1 << 20)
    other_key, other = called.region(100)
    lost, kept = call(caller, address, "lost"), call(caller, address, "kept")
    lost.post([write(b"before", key, 0)])
    called.wait_for(Received)
    called.wait(lambda: len(called.pairs) == 2)
    for _ in range(64):
        lost.post([write(noise(1 << 20), key, 0)])
    called.transport.disconnect("to lost")
    seen = bytes(memory)
    kept.post([write(b"still here", other_key, 0)])
    called.wait_for(Received, 2)
    assert other[:10] == b"still here"
    assert bytes(memory) == seen
    caller.wait_for(Failed)  # a reset, not an end
    assert [c.peer for c in caller.of(Failed) if isinstance(c, Failed)] == ["lost"]
    assert called.failures == []
    lost.post([write(b"after", key, 0)])
    with pytest.raises(UsageError, match="no queue pair to lost"):
        called.transport.disconnect("to lost")


def test_the_account_of_a_disconnected_end_is_what_crossed_the_wire(ends: Ends) -> None:
    """Bytes that the socket had not sent are taken off, those that nobody read are added."""
    caller, called, address = ends
    key, _ = called.region(1 << 22)
    pair = call(caller, address, "a")
    called.wait(lambda: bool(called.pairs))
    reader = called.pairs["to a"].socket
    called.transport._epoll.unregister(reader)  # a process that has stopped
    for _ in range(16):
        pair.post([write(noise(1 << 20), key, 0)])
    deadline_s = time.monotonic() + TIMEOUT_S
    before = -1
    while pair.sender.sent_bytes != before and time.monotonic() < deadline_s:
        before = pair.sender.sent_bytes
        caller._loop.run_until_complete(asyncio.sleep(0.05))
    caller.transport.disconnect("a")
    called.transport.disconnect("to a")
    sent, _ = caller.transport.accounts()["a"]
    _, received = called.transport.accounts()["to a"]
    assert 0 < sent < before + (1 << 20)
    # What is under way when it is cut may be on either side; on the loopback nothing is.
    assert sent == pytest.approx(received, rel=0.05)
