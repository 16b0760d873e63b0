"""A storage node's process: writes blocks over its SNIC as it is asked, keeps what it is given."""

from __future__ import annotations

import contextlib
from collections import Counter, deque
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from agents.cluster import Cluster
from agents.connections import listen
from agents.control.messages import (
    LaidDown,
    LayDown,
    Lookup,
    LookupReply,
    Message,
    Provoke,
    PutBegin,
    PutDone,
    PutReply,
    Read,
    ReadDone,
    ReadFailed,
)
from agents.ports import Ports
from agents.process import Process, main
from agents.records import StorageRecord
from agents.storage.errors import StoreError, StoreFull
from agents.storage.store import Reservation, Store, StoredBlocks
from agents.wire.immediates import Immediate, Kind
from agents.wire.pair_names import pair_name
from agents.wire.transfers import Transfer
from agents.wire.transport import Received
from testbed.units import show_size


class Reading(NamedTuple):
    """A read whose bytes are on their way; its blocks are held."""

    request: int
    part: int
    stored: StoredBlocks


@dataclass(slots=True)
class Put:
    """Blocks on their way here.

    Args:
        left: transfers that have not ended.
    """

    sender: str
    request: int
    hashes: bytes
    reserved: Reservation
    left: int


class StorageNode(Process):
    """One storage node.

    A lookup promises nothing: it makes the blocks that it finds the most recently used, so that
    they are the last to be evicted, and no more.  A lease would bound what can be evicted by how
    many requests wait, which storage does not know, and its end would need a clock or a message of
    every request that is given up.  Only what is being read is held.
    """

    def __init__(self, name: str, cluster: Cluster) -> None:
        super().__init__(name, cluster)
        self.layout = cluster.layout
        self._directory = Path(cluster.storage_directory) / name
        self.store = Store(
            self._directory,
            cluster.layout,
            cluster.storage_bytes,
            evict=cluster.storage_eviction == "lru",
        )
        self.ports = Ports(self, cluster.write_bytes)
        self.ports.handle(Kind.STORAGE_WRITE, self._arrived)
        self.key = self.ports.register(self.store.memory)
        self._puts: dict[int, Put] = {}
        self._reads: dict[str, deque[Reading]] = {}  # by node, in the order of posting
        self._touched: set[int] = set()
        self._sent_bytes: Counter[str] = Counter()  # by reader
        self._refused_puts = self._refused_blocks = 0
        self._laid_down_bytes = 0

    def listen(self) -> None:
        """Accept queue pairs on the SNIC."""
        listen(self.ports)

    async def connect(self) -> None:
        """Every node calls; wait for all of them."""
        await self.ports.connected(len(self.cluster.prefill) + len(self.cluster.decode))
        self.spawn(self.ports.watch_round_trips())

    def finish(self) -> None:
        """Record the accounts of all queue pairs, and what the blocks came to."""
        self.ports.account()
        size = self.layout.full_block_bytes
        self.records.append(
            StorageRecord(
                self.name,
                self.store.capacity_bytes,
                len(self.store) * size,
                len(self._touched) * size,
                self.store.evicted_blocks * size,
                self._sent_bytes.total(),
                sum(len(r.stored.slots) for reads in self._reads.values() for r in reads) * size,
                self._refused_puts,
                self._refused_blocks * size,
            )
        )

    def leave(self) -> None:
        """Close the queue pairs and the store."""
        self.ports.close()
        self.store.close()
        with contextlib.suppress(OSError):  # something of somebody else's is in it
            self._directory.rmdir()

    def laid_down_bytes(self) -> int:
        """KV bytes made for the warm start; they crossed no link."""
        return self._laid_down_bytes

    def handle(self, sender: str, message: Message) -> None:
        """A control message has arrived."""
        match message:
            case Lookup():
                hashes = _hashes(message.hashes)
                self._touched.update(hashes.tolist())
                self.mesh.send(sender, LookupReply(message.request, self.store.lookup(hashes)))
            case Read():
                self._read(sender, message)
            case ReadDone():
                self._read_done(sender, message)
            case PutBegin():
                self._put(sender, message)
            case LayDown():
                self._lay_down(sender, message)
            case Provoke():
                self._provoke(message)
            case _:
                raise TypeError(f"{self.name} cannot handle {message}")

    def _read(self, sender: str, message: Read) -> None:
        hashes = _hashes(message.hashes)
        try:
            stored = self.store.ranges(hashes)
        except StoreError as error:
            self.event("read-failed", message.request, str(error))
            self.mesh.send(sender, ReadFailed(message.request, str(error), message.part))
            return
        self.store.hold(stored)
        self._sent_bytes[sender] += len(hashes) * self.layout.full_block_bytes
        reading = Reading(message.request, message.part, stored)
        self._reads.setdefault(sender, deque()).append(reading)
        pair = pair_name(sender, self.name, "snic0", "called")
        table = memoryview(stored.digests.astype("<u8").tobytes())
        self.ports.post(
            pair,
            Transfer(
                Kind.DIGESTS,
                message.request,
                message.part,
                [table],
                message.digest_key,
                message.digest_offset,
                path=message.path,
                digest=True,
            ),
        )
        self.ports.post(
            pair,
            Transfer(
                Kind.STORAGE_READ,
                message.request,
                message.part,
                stored.ranges,
                message.key,
                message.offset,
                path=message.path,
            ),
        )

    def _read_done(self, sender: str, done: ReadDone) -> None:
        """Let go of a read's blocks, and of earlier ones: a queue pair delivers in order."""
        reads = self._reads.get(sender, deque())
        if not any((done.request, done.part) == reading[:2] for reading in reads):
            self.event("unknown-read", done.request, f"part {done.part} of {sender}")
            return
        while True:
            reading = reads.popleft()
            self.store.let_go(reading.stored)
            if (done.request, done.part) == reading[:2]:
                return

    def _put(self, sender: str, message: PutBegin) -> None:
        blocks = len(message.hashes) // 8
        try:
            reserved = self.store.reserve(blocks, message.parent)
        except StoreError as error:
            if isinstance(error, StoreFull):
                self._refused(message.request, blocks, error)
            else:
                self.event("put-failed", message.request, str(error))
            self.mesh.send(sender, PutReply(message.put, 0, [], str(error)))
            return
        self._puts[message.put] = Put(
            sender, message.request, message.hashes, reserved, len(reserved.parts)
        )
        places = [(part.offset, part.blocks) for part in reserved.parts]
        self.mesh.send(sender, PutReply(message.put, self.key, places))

    def _refused(self, request: int, blocks: int, why: StoreFull) -> None:
        """There is no room: the blocks are not stored, and will be computed again."""
        self._refused_puts += 1
        self._refused_blocks += blocks
        size = show_size(blocks * self.layout.full_block_bytes)
        self.event("put-refused", request, f"{blocks} blocks, {size}: {why}")

    def _arrived(self, what: Immediate, received: Received) -> None:
        """A transfer of a put has ended; after the last one its blocks are stored."""
        put = self._puts[what.number]
        put.left -= 1
        if put.left:
            return
        del self._puts[what.number]
        hashes = _hashes(put.hashes)
        self._touched.update(hashes.tolist())
        error = ""
        try:
            self.store.commit(put.reserved, hashes)
        except StoreError as failed:
            error = str(failed)
            self.event("put-failed", put.request, error)
        self.mesh.send(put.sender, PutDone(what.number, error))

    def lose(self, node: str) -> None:
        """A node is lost: let go of what it was reading, and of the room for what it was writing.

        Its queue pair is closed: nothing of it lands any more.
        """
        super().lose(node)
        self.ports.lose(node)
        for reading in self._reads.pop(node, ()):
            self.store.let_go(reading.stored)
        del self._sent_bytes[node]  # what has arrived of it nobody will say
        for number in [number for number, put in self._puts.items() if put.sender == node]:
            self.store.release(self._puts.pop(number).reserved)

    def _provoke(self, fault: Provoke) -> None:
        """A fault of the scenario."""
        match fault.action:
            case "forget":
                told = f"{self.store.forget(fault.share)} blocks forgotten"
            case "fill":
                told = f"room for {self.store.fill()} blocks taken, nothing is evicted"
            case "clear":
                self.store.clear()
                told = "there is room again"
            case _:
                raise TypeError(f"{self.name} cannot {fault.action}")
        self.event("fault", 0, told)

    def _lay_down(self, sender: str, message: LayDown) -> None:
        hashes = _hashes(message.hashes)
        evicted, error = self.store.evicted_blocks, ""
        try:
            made = self.store.lay_down(hashes, message.parent)
            self._laid_down_bytes += made * self.layout.full_block_bytes
        except StoreError as refused:
            error = str(refused)
            if isinstance(refused, StoreFull):
                self._refused(message.request, len(hashes) - self.store.lookup(hashes), refused)
            else:
                self.event("put-failed", message.request, error)
        evicted = self.store.evicted_blocks - evicted
        self.mesh.send(sender, LaidDown(message.number, len(hashes), evicted, error))


def _hashes(data: bytes) -> np.ndarray:
    return np.frombuffer(data, dtype="<u8")


if __name__ == "__main__":
    main(StorageNode)
