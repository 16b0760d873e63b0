"""A storage node's process: writes blocks over its SNIC as it is asked, keeps what it is given."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from agents.cluster import Cluster
from agents.connections import listen
from agents.control import (
    LaidDown,
    LayDown,
    Lookup,
    LookupReply,
    Message,
    PutBegin,
    PutDone,
    PutReply,
    Read,
    ReadFailed,
)
from agents.ports import Ports, Transfer, pair_name
from agents.process import Process, main
from agents.storage.errors import StoreError
from agents.storage.store import Reservation, Store
from agents.wire.immediates import Immediate, Kind
from agents.wire.transport import Received


class StorageNode(Process):
    """One storage node."""

    def __init__(self, name: str, cluster: Cluster) -> None:
        super().__init__(name, cluster)
        self.layout = cluster.layout
        self.store = Store(
            Path(cluster.storage_directory) / name, cluster.layout, cluster.storage_bytes
        )
        self.ports = Ports(self, cluster.write_bytes)
        self.ports.handle(Kind.STORAGE_WRITE, self._arrived)
        self.key = self.ports.register(self.store.memory)
        self._puts: dict[int, tuple[str, bytes, Reservation]] = {}
        self._laid_down_bytes = 0

    def listen(self) -> None:
        """Accept queue pairs on the SNIC."""
        listen(self.ports)

    async def connect(self) -> None:
        """Every node calls; wait for all of them."""
        await self.ports.connected(len(self.cluster.prefill) + len(self.cluster.decode))

    def finish(self) -> None:
        """Record the accounts of all queue pairs."""
        self.ports.account()

    def leave(self) -> None:
        """Close the queue pairs and the store."""
        self.ports.close()
        self.store.close()

    def laid_down_bytes(self) -> int:
        """KV bytes made for the warm start; they crossed no link."""
        return self._laid_down_bytes

    def handle(self, sender: str, message: Message) -> None:
        """A control message has arrived."""
        match message:
            case Lookup():
                blocks = self.store.lookup(_hashes(message.hashes))
                self.mesh.send(sender, LookupReply(message.request, blocks))
            case Read():
                self._read(sender, message)
            case PutBegin():
                self._put(sender, message)
            case LayDown():
                self._lay_down(sender, message)
            case _:
                raise TypeError(f"{self.name} cannot handle {message}")

    def _read(self, sender: str, message: Read) -> None:
        hashes = _hashes(message.hashes)
        try:
            stored = self.store.ranges(hashes)
        except StoreError as error:
            self.event("read-failed", message.request, str(error))
            self.mesh.send(sender, ReadFailed(message.request, str(error)))
            return
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

    def _put(self, sender: str, message: PutBegin) -> None:
        try:
            reserved = self.store.reserve(len(message.hashes) // 8)
        except StoreError as error:
            self.event("put-refused", message.request, str(error))
            self.mesh.send(sender, PutReply(message.put, 0, 0, str(error)))
            return
        self._puts[message.put] = (sender, message.hashes, reserved)
        self.mesh.send(sender, PutReply(message.put, self.key, reserved.offset))

    def _arrived(self, what: Immediate, received: Received) -> None:
        sender, hashes, reserved = self._puts.pop(what.number)
        error = ""
        try:
            self.store.commit(reserved, _hashes(hashes))
        except StoreError as refused:
            error = str(refused)
            self.event("put-refused", what.number, error)
        self.mesh.send(sender, PutDone(what.number, error))

    def _lay_down(self, sender: str, message: LayDown) -> None:
        hashes = _hashes(message.hashes)
        error = ""
        try:
            made = self.store.lay_down(hashes)
            self._laid_down_bytes += made * self.layout.full_block_bytes
        except StoreError as refused:
            error = str(refused)
        self.mesh.send(sender, LaidDown(message.number, len(hashes), error))


def _hashes(data: bytes) -> np.ndarray:
    return np.frombuffer(data, dtype="<u8")


if __name__ == "__main__":
    main(StorageNode)
