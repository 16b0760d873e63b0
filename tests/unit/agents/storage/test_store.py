"""The store gives the bytes that were stored, or an error."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agents.blocks.digests import first_wrong
from agents.blocks.generate import fill_full
from agents.blocks.hashing import Hashes, stream_hashes
from agents.blocks.layout import KVLayout
from agents.storage.errors import CorruptBlock, MissingBlock, StoreError, StoreFull
from agents.storage.store import FILE_NAME, Reservation, Store, StoredBlocks
from testbed.errors import ConflictError
from tests.unit.agents.full_blocks import check_full

LAYOUT = KVLayout(5, 45)
SIZE = LAYOUT.full_block_bytes


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path, LAYOUT, 100 * SIZE)
    yield store
    store.close()


def read(stored: StoredBlocks) -> bytes:
    """What sendfile would send."""
    return b"".join(os.pread(part.fd, part.length, part.offset) for part in stored.ranges)


def land(reservation: Reservation, hashes: Hashes) -> None:
    """What the network would bring."""
    at = 0
    for part in reservation.parts:
        fill_full(LAYOUT, hashes[at : at + part.blocks], part.view)
        at += part.blocks


def put(store: Store, hashes: Hashes, parent: int | None = None) -> int:
    reservation = store.reserve(len(hashes), parent)
    land(reservation, hashes)
    return store.commit(reservation, hashes)


def test_what_is_laid_down_can_be_read(store: Store) -> None:
    hashes = stream_hashes(1, 40)
    assert store.lay_down(hashes) == 40
    stored = store.ranges(hashes)
    data = memoryview(read(stored))
    assert check_full(LAYOUT, hashes, data) is None
    assert first_wrong(data, stored.digests, SIZE) is None
    assert len(stored.ranges) == 1  # one prefix, one extent


def test_what_has_landed_can_be_read(store: Store) -> None:
    hashes = stream_hashes(1, 7)
    assert put(store, hashes) == 7
    assert check_full(LAYOUT, hashes, memoryview(read(store.ranges(hashes)))) is None


def test_ranges_follow_the_order_that_was_asked_for(store: Store) -> None:
    a, b = stream_hashes(1, 10), stream_hashes(2, 10)
    store.lay_down(a)
    store.lay_down(b)
    wanted = np.concatenate((a[:4], b[2:5], a[9:], b[:1], b[1:2]))
    stored = store.ranges(wanted)
    assert [part.length // SIZE for part in stored.ranges] == [4, 3, 3]  # a[9] lies before b[0]
    assert check_full(LAYOUT, wanted, memoryview(read(stored))) is None
    nothing = store.ranges(wanted[:0])
    assert nothing.ranges == []
    assert len(nothing.digests) == 0


def test_lookup_is_the_longest_prefix(store: Store) -> None:
    hashes = stream_hashes(1, 20)
    assert store.lookup(hashes) == 0
    store.lay_down(hashes[:12])
    put(store, hashes[15:])
    assert store.lookup(hashes) == 12
    put(store, hashes[12:15])
    assert store.lookup(hashes) == 20
    assert store.lookup(hashes[:0]) == 0


def test_what_is_reserved_is_not_stored_yet(store: Store) -> None:
    hashes = stream_hashes(1, 3)
    reservation = store.reserve(3)
    assert store.lookup(hashes) == 0
    with pytest.raises(MissingBlock, match="is not stored"):
        store.ranges(hashes)
    store.release(reservation)
    with pytest.raises(StoreError, match="not reserved"):
        store.commit(reservation, hashes)
    assert store.free_bytes == 100 * SIZE


def test_a_block_is_kept_once(store: Store) -> None:
    hashes = stream_hashes(1, 10)
    put(store, hashes[2:6])
    assert put(store, hashes) == 6
    assert store.free_bytes == 90 * SIZE
    assert len(store) == 10
    assert check_full(LAYOUT, hashes, memoryview(read(store.ranges(hashes)))) is None
    assert store.lay_down(np.concatenate((hashes, hashes))) == 0


def test_the_same_block_twice_in_one_put(store: Store) -> None:
    block = stream_hashes(1, 1)
    assert put(store, np.concatenate((block, block))) == 1
    assert store.free_bytes == 99 * SIZE


def test_a_block_with_other_bytes_is_refused(store: Store) -> None:
    hashes = stream_hashes(1, 3)
    put(store, hashes[:2])
    reservation = store.reserve(2)
    land(reservation, hashes[1:])
    reservation.parts[0].view[17] ^= 1
    with pytest.raises(CorruptBlock, match="with other bytes"):
        store.commit(reservation, hashes[1:])
    assert store.lookup(hashes[2:]) == 0
    assert store.free_bytes == 98 * SIZE
    assert check_full(LAYOUT, hashes[:2], memoryview(read(store.ranges(hashes[:2])))) is None


@given(st.lists(st.integers(1, 9), max_size=12))
def test_room_is_used_to_the_last_block(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    with_room = Store(tmp_path_factory.mktemp("store"), LAYOUT, 20 * SIZE, evict=False)
    try:
        stored = 0
        for stream, blocks in enumerate(sizes):
            if stored + blocks > 20:
                with pytest.raises(StoreFull, match="no room"):
                    with_room.reserve(blocks)
            else:
                stored += put(with_room, stream_hashes(stream, blocks))
        assert with_room.free_bytes == (20 - stored) * SIZE
    finally:
        with_room.close()


def test_a_full_disk_is_an_error_not_a_signal(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StoreFull, match="No space left on device"):
        store.reserve(5)
    monkeypatch.undo()
    assert put(store, stream_hashes(1, 100)) == 100


def test_digests_tell_the_receiver_of_a_changed_block(store: Store, tmp_path: Path) -> None:
    hashes = stream_hashes(1, 10)
    store.lay_down(hashes)
    with (tmp_path / FILE_NAME).open("r+b") as file:
        file.seek(6 * SIZE + 3)
        file.write(b"?")
    stored = store.ranges(hashes)
    assert first_wrong(memoryview(read(stored)), stored.digests, SIZE) == 6


def test_a_truncated_file_is_found(store: Store, tmp_path: Path) -> None:
    hashes = stream_hashes(1, 10)
    store.lay_down(hashes)
    reservation = store.reserve(1)
    os.truncate(tmp_path / FILE_NAME, 5 * SIZE)
    with pytest.raises(CorruptBlock, match="cut it short"):
        store.ranges(hashes[:1])
    with pytest.raises(CorruptBlock, match="cut it short"):
        store.reserve(1)
    with pytest.raises(CorruptBlock, match="cut it short"):
        store.commit(reservation, hashes[:1])


def test_a_missing_block_is_named(store: Store) -> None:
    hashes = stream_hashes(1, 3)
    store.lay_down(hashes[:2])
    with pytest.raises(MissingBlock, match=f"{int(hashes[2]):#018x}, number 2"):
        store.ranges(hashes)


def test_room_need_not_be_in_a_row(store: Store) -> None:
    """a b a b …: every second run is evicted, and what comes lies in their holes."""
    kept, old = stream_hashes(1, 50), stream_hashes(2, 50)
    for at in range(0, 50, 5):
        store.lay_down(old[at : at + 5], int(old[at - 1]) if at else None)
        store.lay_down(kept[at : at + 5], int(kept[at - 1]) if at else None)
    store.lookup(kept)
    new = stream_hashes(3, 45)
    reservation = store.reserve(45)
    assert [part.blocks for part in reservation.parts] == [5] * 9
    land(reservation, new)
    assert store.commit(reservation, new) == 45
    assert store.evicted_blocks == 45
    assert [store.lookup(hashes) for hashes in (old, kept, new)] == [5, 50, 45]
    for hashes in (kept, new):
        assert check_full(LAYOUT, hashes, memoryview(read(store.ranges(hashes)))) is None


def test_what_is_held_stays_where_it_is(store: Store) -> None:
    hashes = stream_hashes(1, 60)
    store.lay_down(hashes)
    stored = store.ranges(hashes)
    store.hold(stored)
    put(store, stream_hashes(2, 40))
    put(store, stream_hashes(3, 40))  # evicts stream 2, though stream 1 is older
    with pytest.raises(StoreFull, match=r"0 of 100 are free, 60 are being read or written"):
        store.reserve(41)
    assert check_full(LAYOUT, hashes, memoryview(read(stored))) is None
    assert store.lookup(stream_hashes(3, 40)) == 40  # nothing was evicted in vain
    store.let_go(stored)
    put(store, stream_hashes(4, 100))
    assert store.lookup(hashes) == 0


def test_the_block_before_a_put_waits_for_it(store: Store) -> None:
    hashes = stream_hashes(1, 3)
    store.lay_down(hashes[:2])
    reservation = store.reserve(1, int(hashes[1]))
    put(store, stream_hashes(2, 97))
    with pytest.raises(StoreFull):
        store.reserve(98)
    put(store, stream_hashes(3, 97))  # in place of stream 2
    land(reservation, hashes[2:])
    store.commit(reservation, hashes[2:])
    assert store.lookup(hashes) == 3


def test_a_prefix_longer_than_the_store_is_refused(store: Store) -> None:
    with pytest.raises(StoreFull, match="no room for 101 blocks"):
        store.lay_down(stream_hashes(1, 101))


class AgainstAModel(RuleBasedStateMachine):
    """The store beside a list of prefixes: the same blocks, the same evictions, the right bytes."""

    STREAMS, LONGEST, SLOTS = 3, 6, 9

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.store = Store(Path(self.directory.name), LAYOUT, self.SLOTS * SIZE)
        self.hashes = [stream_hashes(number, self.LONGEST) for number in range(self.STREAMS)]
        self.length = [0] * self.STREAMS  # stored blocks of each stream
        self.used: list[int] = list(range(self.STREAMS))  # streams, least recently used first
        self.held: list[tuple[int, int, StoredBlocks]] = []
        self.coming: list[tuple[int, int, Reservation]] = []

    def teardown(self) -> None:
        self.store.close()
        self.directory.cleanup()

    def use(self, stream: int) -> None:
        self.used.remove(stream)
        self.used.append(stream)

    def kept(self, stream: int) -> int:
        """Blocks of a stream that may not go."""
        reading = [length for held, length, _ in self.held if held == stream]
        writing = [first for coming, first, _ in self.coming if coming == stream]
        return max(reading + writing, default=0)

    @property
    def free(self) -> int:
        coming = sum(reservation.blocks for _, _, reservation in self.coming)
        return self.SLOTS - sum(self.length) - coming

    @rule(stream=st.integers(0, STREAMS - 1))
    def look_up(self, stream: int) -> None:
        assert self.store.lookup(self.hashes[stream]) == self.length[stream]
        if self.length[stream]:
            self.use(stream)

    @rule(stream=st.integers(0, STREAMS - 1), count=st.integers(1, LONGEST))
    def begin_a_put(self, stream: int, count: int) -> None:
        first = self.length[stream]
        count = min(count, self.LONGEST - first)
        if count == 0 or any(coming == stream for coming, _, _ in self.coming):
            return
        # Only the block before the put is held, but a whole prefix hangs from it.
        mine = (stream, first, Reservation((), None, np.array([], np.int64)))
        self.coming.append(mine)
        expected = list(self.length)
        room = self.free
        for victim in self.used:
            while room < count and expected[victim] > self.kept(victim):
                expected[victim] -= 1
                room += 1
        self.coming.remove(mine)
        parent = int(self.hashes[stream][first - 1]) if first else None
        if room < count:
            with pytest.raises(StoreFull):
                self.store.reserve(count, parent)
            # What was evicted before that was found stays evicted.
            self.length = [self.store.lookup(hashes) for hashes in self.hashes]
            self.used = list(range(self.STREAMS))
            return
        self.length = expected
        self.coming.append((stream, first, self.store.reserve(count, parent)))

    @precondition(lambda self: self.coming)
    @rule(data=st.data())
    def end_a_put(self, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(self.coming) - 1))
        stream, first, reservation = self.coming.pop(place)
        blocks = self.hashes[stream][first : first + reservation.blocks]
        if data.draw(st.booleans()):
            self.store.release(reservation)
            return
        land(reservation, blocks)
        assert self.store.commit(reservation, blocks) == len(blocks)
        self.length[stream] = first + len(blocks)
        self.store.lookup(self.hashes[stream])
        self.use(stream)

    @rule(stream=st.integers(0, STREAMS - 1))
    def begin_a_read(self, stream: int) -> None:
        length = self.length[stream]
        stored = self.store.ranges(self.hashes[stream][:length])
        self.store.hold(stored)
        self.held.append((stream, length, stored))
        if length:
            self.use(stream)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def end_a_read(self, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(self.held) - 1))
        _, _, stored = self.held.pop(place)
        self.store.let_go(stored)

    @invariant()
    def nothing_is_lost_and_every_byte_is_right(self) -> None:
        assert len(self.store) == sum(self.length)
        assert self.store.free_bytes == self.free * SIZE
        for stream, length, stored in self.held:
            blocks = self.hashes[stream][:length]
            assert check_full(LAYOUT, blocks, memoryview(read(stored))) is None


TestAgainstAModel = AgainstAModel.TestCase
TestAgainstAModel.settings = settings(max_examples=40)


def test_hashes_and_blocks_must_be_as_many(store: Store) -> None:
    reservation = store.reserve(3)
    with pytest.raises(StoreError, match="2 hashes for 3 blocks"):
        store.commit(reservation, stream_hashes(1, 2))
    store.release(reservation)
    with pytest.raises(StoreError, match="cannot reserve 0"):
        store.reserve(0)


def test_one_directory_serves_one_store(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ConflictError, match="in use by another"):
        Store(tmp_path, LAYOUT, 100 * SIZE)
    hashes = stream_hashes(1, 3)
    store.lay_down(hashes)  # the first is not disturbed
    assert check_full(LAYOUT, hashes, memoryview(read(store.ranges(hashes)))) is None


def test_nothing_is_left_of_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "new", LAYOUT, 10 * SIZE)
    store.close()
    store.close()
    assert list((tmp_path / "new").iterdir()) == []


def test_what_an_earlier_store_left_is_not_served(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"left by a crash" * 1000)
    store = Store(tmp_path, LAYOUT, 10 * SIZE)
    assert bytes(store.memory) == bytes(10 * SIZE)
    store.close()


def test_a_store_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot hold one block"):
        Store(tmp_path, LAYOUT, SIZE - 1)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot make"):
        Store(tmp_path / "file", LAYOUT, SIZE)
