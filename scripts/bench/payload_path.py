"""CPU per GiB of moving payload over loopback TCP: the transport, beside plain blocking threads.

The plain side has a thread for each connection and direction that does sendfile(2) and recv_into,
with the same headers and the same pieces: the least that Python can do.  Sender and receiver
are processes of their own; their CPU time is added up (with the kernel's work on their behalf).
The rate is held by TCP's own pacing (SO_MAX_PACING_RATE), which meters out bursts much as a
shaped link does.  Both sides take turns, `--rounds` times.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import mmap
import os
import resource
import socket
import statistics
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from agents.wire.header import HEADER_BYTES
from agents.wire.stream import StreamTransport
from agents.wire.transport import Completion, Failed, FileRange, Received, Sent, WriteRequest
from testbed.units import parse_rate_bps, parse_size_bytes, show_rate

SO_MAX_PACING_RATE = 47  # asm-generic/socket.h; the socket module does not name it
SPREAD_BYTES = 8 << 20  # of file and of memory per connection: more than caches hold
GIB = 1 << 30


class Case(NamedTuple):
    connections: int
    rate_bps: int | None
    size_bytes: int  # in all
    write_bytes: int

    @property
    def writes(self) -> int:
        """Of one connection."""
        return max(1, self.size_bytes // self.connections // self.write_bytes)

    def at(self, write: int) -> int:
        """Offset of a write in the file, and where it lands."""
        return write % (SPREAD_BYTES // self.write_bytes) * self.write_bytes


# --- the transport -----------------------------------------------------------------------------


class Counter:
    """Counts completions of one kind, and raises what failed in the meantime."""

    def __init__(self, kind: type, target: int) -> None:
        self._kind, self._left = kind, target
        self._done = asyncio.Event()
        self._failure = ""

    def deliver(self, batch: list[Completion]) -> None:
        for completion in batch:
            if isinstance(completion, Failed) and self._left:
                self._failure = f"{completion.peer}: {completion.reason}"
                self._done.set()
            elif isinstance(completion, self._kind):
                self._left -= 1
        if self._left == 0:
            self._done.set()

    async def wait(self) -> None:
        await self._done.wait()
        if self._failure:
            raise SystemExit(self._failure)


def transport_send(case: Case, sockets: list[socket.socket], file: int, key: int) -> None:
    asyncio.run(_send(case, sockets, file, key))


async def _send(case: Case, sockets: list[socket.socket], file: int, key: int) -> None:
    counter = Counter(Sent, case.connections * case.writes)
    transport = StreamTransport(asyncio.get_running_loop())
    transport.on_completions(counter.deliver)
    for number, sock in enumerate(sockets):
        transport.adopt(sock, f"peer{number}").post(
            [
                WriteRequest(
                    [FileRange(file, case.at(write), case.write_bytes)],
                    key,
                    number * SPREAD_BYTES + case.at(write),
                    case.write_bytes,
                    write,
                    number,
                )
                for write in range(case.writes)
            ]
        )
    await counter.wait()
    _until_peer_closes(sockets[-1])
    transport.close()


def transport_receive(
    case: Case, server: socket.socket, memory: memoryview, ready: Callable[[int], None]
) -> None:
    asyncio.run(_receive(case, server, memory, ready))


async def _receive(
    case: Case, server: socket.socket, memory: memoryview, ready: Callable[[int], None]
) -> None:
    counter = Counter(Received, case.connections * case.writes)
    transport = StreamTransport(asyncio.get_running_loop())
    transport.on_completions(counter.deliver)
    key = transport.register(memory)
    transport.listen(server, lambda _name, _pair: None)
    ready(key)
    await counter.wait()
    transport.close()


# --- plain threads -----------------------------------------------------------------------------


def _join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def plain_send(case: Case, sockets: list[socket.socket], file: int, key: int) -> None:
    def send(sock: socket.socket) -> None:
        header = bytes(HEADER_BYTES)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for write in range(case.writes):
            sock.sendall(header, socket.MSG_MORE)
            at, end = case.at(write), case.at(write) + case.write_bytes
            while at < end:
                at += os.sendfile(sock.fileno(), file, at, end - at)

    _join([threading.Thread(target=send, args=(sock,)) for sock in sockets])
    _until_peer_closes(sockets[-1])


def plain_receive(
    case: Case, server: socket.socket, memory: memoryview, ready: Callable[[int], None]
) -> None:
    def receive(sock: socket.socket, number: int) -> None:
        header = memoryview(bytearray(HEADER_BYTES))
        for write in range(case.writes):
            start = number * SPREAD_BYTES + case.at(write)
            for target in (header, memory[start : start + case.write_bytes]):
                have = 0
                while have < len(target):
                    got = sock.recv_into(target[have:])
                    if got == 0:
                        raise SystemExit("the sender closed early")
                    have += got

    ready(0)
    sockets = [server.accept()[0] for _ in range(case.connections)]
    _join(
        [
            threading.Thread(target=receive, args=(sock, number))
            for number, sock in enumerate(sockets)
        ]
    )
    for sock in sockets:
        sock.close()


SIDES = {"transport": (transport_send, transport_receive), "plain": (plain_send, plain_receive)}

# --- one measurement ---------------------------------------------------------------------------


def _until_peer_closes(sock: socket.socket) -> None:
    """What has been sent is not lost by closing too early."""
    with socket.socket(fileno=os.dup(sock.fileno())) as own:
        own.setblocking(True)
        while own.recv(1 << 16):
            pass


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _in_child(work: Callable[[], None], touched: memoryview | None = None) -> tuple[int, int]:
    """Run `work` in a forked process: (its pid, a pipe that its CPU seconds come through).

    Pages of `touched` are there before the clock starts.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    status = 1
    try:
        if touched is not None:
            touched[:: mmap.PAGESIZE] = bytes(len(touched[:: mmap.PAGESIZE]))
        before_s = _cpu_s()
        work()
        os.write(writer, repr(_cpu_s() - before_s).encode())
        status = 0
    finally:
        sys.stderr.flush()
        os._exit(status)


def _result_s(child: tuple[int, int]) -> float:
    pid, reader = child
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    _, status = os.waitpid(pid, 0)
    if status or not text:
        raise SystemExit(f"a process of the benchmark failed (status {status})")
    return float(text)


def measure(case: Case, side: str) -> float:
    """CPU seconds of sender and receiver per GiB."""
    send, receive = SIDES[side]
    with (
        tempfile.TemporaryFile(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as file,
        socket.create_server(("127.0.0.1", 0), backlog=1024) as server,
    ):
        file.write(os.urandom(SPREAD_BYTES))
        file.flush()
        keys, key_writer = os.pipe()
        size = SPREAD_BYTES * case.connections
        memory = memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))

        def ready(key: int) -> None:
            os.write(key_writer, key.to_bytes(8, "big"))

        def sender() -> None:
            key = int.from_bytes(os.read(keys, 8), "big")
            sockets = []
            for _ in range(case.connections):
                sock = socket.socket()
                if case.rate_bps is not None:
                    pacing = case.rate_bps // 8 // case.connections
                    sock.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, pacing)
                sock.connect(server.getsockname())
                sockets.append(sock)
            send(case, sockets, file.fileno(), key)

        receiving = _in_child(lambda: receive(case, server, memory, ready), memory)
        os.close(key_writer)  # if the receiver dies, the sender reads the end of the pipe
        total_s = sum(_result_s(child) for child in (_in_child(sender), receiving))
        os.close(keys)
    return total_s / (case.writes * case.connections * case.write_bytes / GIB)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--rate", nargs="+", default=["500Mbit", "none"], help="in all, or none")
    parser.add_argument("--size", default="256MiB", help="payload of one measurement")
    parser.add_argument("--write", default="256KiB", help="payload of one write")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results = []
    for text in arguments.rate:
        rate_bps = None if text == "none" else parse_rate_bps(text)
        for connections in arguments.connections:
            case = Case(
                connections,
                rate_bps,
                parse_size_bytes(arguments.size),
                parse_size_bytes(arguments.write),
            )
            found: dict[str, list[float]] = {side: [] for side in SIDES}
            for _ in range(arguments.rounds):
                for side in SIDES:
                    found[side].append(measure(case, side))
            cost = {side: statistics.median(values) for side, values in found.items()}
            ratio = cost["transport"] / cost["plain"]
            results.append(
                {
                    "connections": connections,
                    "rate_bps": rate_bps,
                    "write_bytes": case.write_bytes,
                    "cpu_s_per_gib": cost,
                    "ratio": ratio,
                }
            )
            if not arguments.json:
                print(
                    f"{show_rate(rate_bps) if rate_bps else 'unpaced':>8}"
                    f" {connections:3} connections: transport {cost['transport']:.2f}"
                    f" CPU-s/GiB, plain threads {cost['plain']:.2f}, ratio {ratio:.2f}",
                    flush=True,
                )
    if arguments.json:
        print(json.dumps({"benchmark": "payload_path", "results": results}))


if __name__ == "__main__":
    main()
