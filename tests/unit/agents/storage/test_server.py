"""A storage node as its peers see it: messages in, messages and transfers out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.blocks.generate import fill_full
from agents.blocks.hashing import Hashes, stream_hashes
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
from agents.records import AnyRecord, EventRecord, StorageRecord
from agents.storage.server import StorageNode
from agents.wire.immediates import Immediate, Kind
from agents.wire.transfers import Transfer
from agents.wire.transport import FileRange, Received
from tests.unit.agents.clusters import small_cluster
from tests.unit.agents.full_blocks import check_full

RECEIVED = Received(0, 0, 0, 0, 0, 0, 0, 0, 0, "", 0.0, 0.0)


class Peers:
    """Everybody else: keeps what the storage node sends, and lets transfers end."""

    def __init__(self, node: StorageNode, monkeypatch: pytest.MonkeyPatch) -> None:
        self.node = node
        self.layout = node.layout
        self.sent: list[Message] = []
        self.posted: list[Transfer] = []
        self.recorded: list[AnyRecord] = []
        monkeypatch.setattr(node.mesh, "send", lambda peer, message: self.sent.append(message))
        monkeypatch.setattr(node.ports, "post", lambda pair, transfer: self.posted.append(transfer))
        monkeypatch.setattr(node.records, "append", self.recorded.append)

    def ask(self, message: Message, sender: str = "de0") -> Any:
        """Send a message; the answer to it, if there is one."""
        before = len(self.sent)
        self.node.handle(sender, message)
        return self.sent[-1] if len(self.sent) > before else None

    def lay_down(self, hashes: Hashes, parent: int | None = None) -> LaidDown:
        found = self.ask(LayDown(0, hashes.tobytes(), parent), "client")
        assert isinstance(found, LaidDown)
        return found

    def stored(self, hashes: Hashes) -> int:
        found = self.ask(Lookup(0, hashes.tobytes()), "sched")
        assert isinstance(found, LookupReply)
        return found.blocks

    def read(self, request: int, hashes: Hashes, part: int = 0) -> Message | None:
        return self.ask(Read(request, part, "de", hashes.tobytes(), 1, 0, 1, 0))

    def put(self, number: int, hashes: Hashes, parent: int | None = None) -> PutReply:
        found = self.ask(PutBegin(number, 7, hashes.tobytes(), parent))
        assert isinstance(found, PutReply)
        return found

    def land(self, number: int, hashes: Hashes, reply: PutReply) -> list[Message]:
        """Write the blocks where they go, one transfer for each place."""
        before, at, size = len(self.sent), 0, self.layout.full_block_bytes
        for part, (offset, blocks) in enumerate(reply.places):
            memory = self.node.store.memory[offset : offset + blocks * size]
            fill_full(self.layout, hashes[at : at + blocks], memory)
            at += blocks
            ended = Immediate(number, Kind.STORAGE_WRITE, True, part)
            self.node._arrived(ended, RECEIVED)
        assert at == len(hashes)
        return self.sent[before:]

    def events(self) -> list[str]:
        return [record.kind for record in self.recorded if isinstance(record, EventRecord)]


def with_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Callable[[Peers], None], **settings: Any
) -> None:
    """A storage node of 20 blocks, without a network."""
    cluster = small_cluster(tmp_path)

    async def live() -> None:
        node = StorageNode("st0", msgspec.structs.replace(cluster, **settings))
        try:
            work(Peers(node, monkeypatch))
        finally:
            node.leave()
            node.records.close()

    asyncio.run(live())


def test_what_is_read_stays_until_its_reader_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = stream_hashes(1, 12), stream_hashes(2, 12)

    def work(peers: Peers) -> None:
        peers.lay_down(old)
        assert peers.read(5, old) is None
        digests, blocks = peers.posted
        assert (digests.kind, blocks.kind) == (Kind.DIGESTS, Kind.STORAGE_READ)
        assert all(isinstance(source, FileRange) for source in blocks.sources)
        assert "12 are being read or written" in peers.put(1, new).error
        peers.ask(ReadDone(5, 0))
        reply = peers.put(2, new)
        assert not reply.error
        assert peers.stored(old) == 8
        assert peers.land(2, new, reply) == [PutDone(2)]
        assert peers.stored(new) == 12
        assert peers.events() == ["put-refused"]

    with_node(tmp_path, monkeypatch, work)


def test_a_read_that_has_arrived_ends_the_reads_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One queue pair delivers in order; another node's reads have nothing to do with it."""
    hashes = stream_hashes(1, 20)

    def work(peers: Peers) -> None:
        peers.lay_down(hashes)
        peers.read(1, hashes[:4])
        peers.read(1, hashes[4:8], part=1)
        peers.ask(Read(2, 0, "pe", hashes[:2].tobytes(), 1, 0, 1, 0), "pe0")
        peers.ask(ReadDone(1, 1))
        assert not peers.put(1, stream_hashes(2, 18)).error
        assert "20 are being read or written" in peers.put(2, stream_hashes(3, 1)).error
        assert peers.stored(hashes) == 2
        peers.ask(ReadDone(1, 1))
        assert peers.events() == ["put-refused", "unknown-read"]

    with_node(tmp_path, monkeypatch, work)


def test_a_block_that_was_evicted_after_the_lookup_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes, new = stream_hashes(1, 20), stream_hashes(2, 5)

    def work(peers: Peers) -> None:
        peers.lay_down(hashes)
        assert peers.stored(hashes) == 20
        peers.land(1, new, peers.put(1, new))
        failed = peers.read(9, hashes[4:], part=3)
        assert isinstance(failed, ReadFailed)
        assert (failed.request, failed.part) == (9, 3)
        assert f"{int(hashes[15]):#018x}, number 11 of the read" in failed.reason
        assert peers.posted == []
        assert peers.events() == ["read-failed"]
        assert peers.read(9, hashes[4:15], part=3) is None

    with_node(tmp_path, monkeypatch, work)


def test_a_put_in_parts_is_stored_when_the_last_has_landed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, new = (stream_hashes(stream, 10) for stream in (1, 2, 3))

    def work(peers: Peers) -> None:
        for at in range(0, 10, 2):
            peers.lay_down(one[at : at + 2], int(one[at - 1]) if at else None)
            peers.lay_down(two[at : at + 2], int(two[at - 1]) if at else None)
        peers.stored(two)
        reply = peers.put(1, new)
        assert [blocks for _, blocks in reply.places] == [2] * 5
        assert peers.stored(new) == 0
        assert peers.land(1, new, reply) == [PutDone(1)]
        peers.read(4, new)
        found = b"".join(
            bytes(peers.node.store.memory[source.offset :][: source.length])
            for source in peers.posted[-1].sources
            if isinstance(source, FileRange)
        )
        assert check_full(peers.layout, new, memoryview(found)) is None

    with_node(tmp_path, monkeypatch, work)


def test_a_warm_start_that_is_too_large_says_what_had_to_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(peers: Peers) -> None:
        assert peers.lay_down(stream_hashes(1, 15)).evicted == 0
        assert peers.lay_down(stream_hashes(2, 15)) == LaidDown(0, 15, 10)
        assert "no room for 21 blocks" in peers.lay_down(stream_hashes(3, 21)).error
        peers.node.finish()
        assert peers.recorded[-1] == StorageRecord(
            "st0", 1200, 1200, 0, 600, refused_puts=1, refused_bytes=21 * 60
        )

    with_node(tmp_path, monkeypatch, work)


def test_without_eviction_a_full_store_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(peers: Peers) -> None:
        peers.lay_down(stream_hashes(1, 19))
        assert "1 of 20 are free" in peers.put(1, stream_hashes(2, 2)).error
        assert "no room" in peers.lay_down(stream_hashes(3, 2)).error
        assert peers.stored(stream_hashes(1, 25)) == 19
        peers.node.finish()
        assert peers.events() == ["put-refused", "put-refused"]
        assert peers.recorded[-1] == StorageRecord(
            "st0", 1200, 19 * 60, 25 * 60, 0, refused_puts=2, refused_bytes=4 * 60
        )

    with_node(tmp_path, monkeypatch, work, storage_eviction="none")


def test_a_put_of_other_bytes_than_are_stored_is_no_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = stream_hashes(1, 3)

    def work(peers: Peers) -> None:
        peers.lay_down(new)
        reply = peers.put(1, new)
        (offset, _), *_ = reply.places
        peers.node.store.memory[offset] ^= 1
        peers.node._arrived(Immediate(1, Kind.STORAGE_WRITE, True, 0), RECEIVED)
        assert isinstance(peers.sent[-1], PutDone) and "with other bytes" in peers.sent[-1].error
        assert [(e.kind, e.request) for e in peers.recorded if isinstance(e, EventRecord)] == [
            ("put-failed", 7)
        ]
        peers.node.finish()
        assert isinstance(peers.recorded[-1], StorageRecord)
        assert peers.recorded[-1].refused_puts == 0

    with_node(tmp_path, monkeypatch, work)


def test_what_is_sent_is_counted_and_what_nobody_has_confirmed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = stream_hashes(1, 12)

    def work(peers: Peers) -> None:
        peers.lay_down(hashes)
        peers.read(1, hashes[:4])
        peers.read(2, hashes[4:])
        peers.read(3, stream_hashes(9, 1))  # is not there: nothing is sent
        peers.ask(ReadDone(1, 0))
        peers.node.finish()
        stored = peers.recorded[-1]
        assert isinstance(stored, StorageRecord)
        assert (stored.sent_bytes, stored.under_way_bytes) == (12 * 60, 8 * 60)


def test_a_lost_node_holds_nothing_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """de0 was reading 8 blocks and writing 6 others when it was lost; de1 goes on."""
    old, new = stream_hashes(1, 8), stream_hashes(2, 6)

    def work(peers: Peers) -> None:
        peers.lay_down(old)
        peers.read(5, old)
        peers.ask(Read(6, 0, "de", old[:2].tobytes(), 1, 0, 1, 0), "de1")
        assert not peers.put(1, new).error
        assert not peers.ask(PutBegin(2, 9, stream_hashes(3, 6).tobytes()), "de1").error
        assert peers.node.store.free_bytes == 0
        peers.node.lose("de0")
        assert peers.node.store.free_bytes == 6 * peers.layout.full_block_bytes
        assert peers.node.lost == {"de0"}
        reply = peers.put(3, stream_hashes(4, 12))  # 6 are free, 6 of the 8 are read by nobody
        assert sum(blocks for _, blocks in reply.places) == 12
        assert peers.stored(old) == 2
        peers.node.finish()  # what it was sent is no part of the account: nobody says it arrived
        stored = peers.recorded[-1]
        assert isinstance(stored, StorageRecord)
        assert (stored.sent_bytes, stored.under_way_bytes) == (2 * 60, 2 * 60)

    with_node(tmp_path, monkeypatch, work, decode=["de0", "de1"])


def test_faults_of_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = stream_hashes(1, 12), stream_hashes(2, 4)

    def work(peers: Peers) -> None:
        peers.lay_down(old)
        peers.ask(Provoke("fill"), "client")
        assert "no room" in peers.put(1, new).error
        assert peers.stored(old) == 12
        peers.ask(Provoke("clear"), "client")
        assert not peers.put(2, new).error
        peers.ask(Provoke("forget", 0.5), "client")
        assert peers.stored(old) == 6
        peers.read(3, old[:2])
        peers.ask(Provoke("forget"), "client")
        assert peers.stored(old) == 2  # what is being read stays
        assert [kind for kind in peers.events() if kind == "fault"] == ["fault"] * 4

    with_node(tmp_path, monkeypatch, work)
