"""CPU per transfer: posted for one destination and sent together, or a system call each.

    python -m scripts.bench.submission [--json]

Batches of 64 writes over one queue pair on the loopback, as the Layer Blocks of one destination
are; the next batch is posted when the last has left.  CPU is that of the sending and of the
receiving process, by time.process_time().  Both ways take turns, A B B A; medians.  Target:
together takes less of the sender at every size up to 4 KiB.  The smallest size is a Layer Block of
64 tokens of DS-660B at a byte scale of 1000.

Also shown: what submitting costs on the machine that is emulated (1 us for an RDMA write, 6 us for
a copy engine's) as a share of the time that a block of that size takes at 400 Gbit/s.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import socket
import statistics
import sys
import time
from multiprocessing.connection import Connection
from typing import Any

from agents.traffic.submission import COPY_ENGINE_S, RDMA_WRITE_S
from agents.wire.stream import StreamTransport
from agents.wire.transport import Completion, Received, Sent, WriteRequest
from testbed.units import show_size

SIZES = (82, 512, 4096, 65536)
BATCH = 64
CPU_S = 1.0  # that each measurement is to take, about
ORDER = ["together", "each", "each", "together", "together", "each"]
REGION_BYTES = 1 << 20
BYTES_SCALE, REAL_BPS = 1000, 400e9
SMALL_BYTES = 4096


def receive(told: Connection) -> None:
    """The receiving process: says where and into which region, then what it cost."""
    asyncio.run(_receive(told))


async def _receive(told: Connection) -> None:
    loop = asyncio.get_running_loop()
    transport = StreamTransport(loop)
    arrived = asyncio.Event()
    writes = 0

    def count(batch: list[Completion]) -> None:
        nonlocal writes
        writes += sum(isinstance(each, Received) for each in batch)
        arrived.set()

    transport.on_completions(count)
    key = transport.register(memoryview(bytearray(REGION_BYTES)))
    server = socket.create_server(("127.0.0.1", 0))
    told.send((server.getsockname(), key))
    transport.listen(server, lambda _name, _pair: None)
    while (expected := await asyncio.to_thread(told.recv)) is not None:
        began_s, before = time.process_time(), writes
        told.send("ready")
        while writes - before < expected:
            arrived.clear()
            await arrived.wait()
        told.send((time.process_time() - began_s) / expected)
    transport.close()


class Sending:
    """The sending process's end of a queue pair."""

    def __init__(self, address: tuple[str, int], key: int, *, batched: bool) -> None:
        self._key = key
        self._transport = StreamTransport(asyncio.get_running_loop(), batched=batched)
        self._transport.on_completions(self._completed)
        sock = socket.create_connection(address)
        self._pair = self._transport.adopt(sock, "sink")
        self._left = 0
        self._done: asyncio.Future[None] | None = None

    def _completed(self, batch: list[Completion]) -> None:
        self._left -= sum(isinstance(each, Sent) for each in batch)
        if self._left == 0 and self._done is not None:
            self._done.set_result(None)

    async def batch(self, size_bytes: int) -> None:
        """Post a batch, and wait until it has left."""
        payload = memoryview(bytes(size_bytes))
        self._left, self._done = BATCH, asyncio.get_running_loop().create_future()
        self._pair.post([WriteRequest([payload], self._key, 0, size_bytes, 0, 0)] * BATCH)
        await self._done

    def close(self) -> None:
        """End it."""
        self._transport.close()


async def _measure(told: Connection, where: Any, size_bytes: int, *, batched: bool) -> Any:
    """(sender's, receiver's) CPU-seconds a transfer."""
    sending = Sending(*where, batched=batched)
    began_s, tried = time.process_time(), 0
    told.send(BATCH * 20)
    assert told.recv() == "ready"
    for _ in range(20):
        await sending.batch(size_bytes)
        tried += 1
    rounds = max(20, round(CPU_S * tried / (time.process_time() - began_s)))
    told.recv()
    told.send(BATCH * rounds)
    assert told.recv() == "ready"
    began_s = time.process_time()
    for _ in range(rounds):
        await sending.batch(size_bytes)
    took_s = time.process_time() - began_s
    received_s = await asyncio.to_thread(told.recv)
    sending.close()
    return took_s / (BATCH * rounds), received_s


def compare(size_bytes: int) -> dict[str, Any]:
    """Both ways for one size of transfer."""
    here, there = multiprocessing.Pipe()
    receiver = multiprocessing.get_context("spawn").Process(target=receive, args=(there,))
    receiver.start()
    where = here.recv()
    found: dict[str, list[Any]] = {"together": [], "each": []}
    for way in ORDER:
        measured = asyncio.run(_measure(here, where, size_bytes, batched=way == "together"))
        found[way].append(measured)
    here.send(None)
    receiver.join()
    sent, received = (
        {way: statistics.median(each[side] for each in found[way]) for way in found}
        for side in (0, 1)
    )
    ratio = sent["each"] / sent["together"]
    on_the_wire_s = size_bytes * BYTES_SCALE * 8 / REAL_BPS
    return {
        "size_bytes": size_bytes,
        "sender_s": sent,
        "receiver_s": received,
        "sender_ratio": ratio,
        "rdma_share_of_wire": RDMA_WRITE_S / on_the_wire_s,
        "copy_engine_share_of_wire": COPY_ENGINE_S / on_the_wire_s,
        "ok": ratio > 1 or size_bytes > SMALL_BYTES,
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args()
    rows = [compare(size) for size in SIZES]
    if told.json:
        print(json.dumps(rows, indent=2))
    else:
        for row in rows:
            sent, received = row["sender_s"], row["receiver_s"]
            print(
                f"{show_size(row['size_bytes']):>7}: sender {sent['together'] * 1e6:.1f} us "
                f"together, {sent['each'] * 1e6:.1f} us each ({row['sender_ratio']:.2f} times); "
                f"receiver {received['together'] * 1e6:.1f} and {received['each'] * 1e6:.1f} us; "
                f"emulated {row['rdma_share_of_wire']:.0%} and "
                f"{row['copy_engine_share_of_wire']:.0%} of its time on the wire"
            )
    sys.exit(0 if all(row["ok"] for row in rows) else 1)


if __name__ == "__main__":
    main()
