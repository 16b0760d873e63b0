"""The trie against a naive model of it; and what goes first."""

from __future__ import annotations

from itertools import takewhile

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agents.blocks.hashing import Hashes, stream_hashes
from agents.storage.trie import Slots, Trie

SLOTS = 12
# Blocks are paths: 1, 11, 111, 112 … so that a block's name says what it hangs from.
CHILDREN = 2
DEPTH = 4


def hashes(*blocks: int) -> Hashes:
    return np.array(blocks, np.uint64)


def path(leaf: int) -> list[int]:
    """From the first block of a prefix to this one."""
    digits = str(leaf)
    return [int(digits[: n + 1]) for n in range(len(digits))]


def parent_of(block: int) -> int | None:
    return block // 10 or None


leaves = st.lists(st.integers(1, CHILDREN), min_size=1, max_size=DEPTH).map(
    lambda digits: int("".join(map(str, digits)))
)


class AgainstAModel(RuleBasedStateMachine):
    """Blocks in the order of their use, in a list; everything else is looked for in it."""

    def __init__(self) -> None:
        super().__init__()
        self.trie = Trie(SLOTS)
        self.order: list[int] = []  # least recently used first
        self.slots: dict[int, int] = {}
        self.free = set(range(SLOTS))
        self.pins: list[list[int]] = []

    def use(self, blocks: list[int]) -> None:
        for block in reversed(blocks):  # the first was used last
            self.order.remove(block)
            self.order.append(block)

    def victims(self, count: int) -> list[int]:
        pinned = {block for pin in self.pins for block in pin}
        order, found = list(self.order), []
        while len(found) < count:
            parents = {parent_of(block) for block in order}
            leaves = (b for b in order if b not in parents and b not in pinned)
            if (victim := next(leaves, None)) is None:
                break
            order.remove(victim)
            found.append(victim)
        return found

    @rule(leaf=leaves, first=st.integers(0, DEPTH - 1))
    def insert(self, leaf: int, first: int) -> None:
        blocks = path(leaf)[first:]
        if not blocks or len(blocks) > len(self.free):
            return
        slots = sorted(self.free)[: len(blocks)]
        spare = self.trie.insert(parent_of(blocks[0]), blocks, slots)
        known = [block in self.slots for block in blocks]
        assert spare == [slot for slot, old in zip(slots, known, strict=True) if old]
        for block, slot, old in zip(blocks, slots, known, strict=True):
            if not old:
                self.slots[block] = slot
                self.free.discard(slot)
                self.order.append(block)
        self.use(blocks)

    @rule(leaf=leaves, step=st.integers(1, 2))
    def longest_prefix(self, leaf: int, step: int) -> None:
        asked = path(leaf)[::step]  # what lies between is another storage node's
        stored = list(takewhile(self.slots.__contains__, asked))
        assert self.trie.prefix(hashes(*asked)).tolist() == [self.slots[b] for b in stored]
        self.use(stored)

    @rule(leaf=leaves)
    def find(self, leaf: int) -> None:
        missing = [n for n, block in enumerate(path(leaf)) if block not in self.slots]
        if missing:
            with pytest.raises(KeyError) as error:
                self.trie.find(hashes(*path(leaf)))
            assert error.value.args == (missing[0],)
        else:
            found = self.trie.find(hashes(*path(leaf))).tolist()
            assert found == [self.slots[block] for block in path(leaf)]
            self.use(path(leaf))

    def slots_of(self, blocks: list[int]) -> Slots:
        return np.array([self.slots[block] for block in blocks], np.int64)

    @precondition(lambda self: self.order)
    @rule(data=st.data())
    def pin(self, data: st.DataObject) -> None:
        self.pins.append(data.draw(st.lists(st.sampled_from(sorted(self.order)), max_size=3)))
        self.trie.pin(self.slots_of(self.pins[-1]))

    @precondition(lambda self: self.pins)
    @rule(data=st.data())
    def unpin(self, data: st.DataObject) -> None:
        blocks = self.pins.pop(data.draw(st.integers(0, len(self.pins) - 1)))
        self.trie.unpin(self.slots_of(blocks))

    def teardown(self) -> None:
        """What would go first of all that is left, to the last block."""
        while self.pins:
            self.trie.unpin(self.slots_of(self.pins.pop()))
        self.evict(SLOTS)
        assert len(self.trie) == 0

    @rule(count=st.integers(0, 3))
    def evict(self, count: int) -> None:
        expected = self.victims(count)
        assert self.trie.evict(count) == [(block, self.slots[block]) for block in expected]
        for block in expected:
            self.order.remove(block)
            self.free.add(self.slots.pop(block))

    @invariant()
    def the_index_is_the_model_s(self) -> None:
        assert len(self.trie) == len(self.slots)
        assert all(self.trie.slot(block) == slot for block, slot in self.slots.items())
        assert self.trie.pinned == len({block for pin in self.pins for block in pin})


TestTrie = AgainstAModel.TestCase
TestTrie.settings = settings(max_examples=40)


def test_a_prefix_is_eaten_from_its_end() -> None:
    trie = Trie(10)
    blocks = stream_hashes(1, 5).tolist()
    trie.insert(None, blocks, range(5))
    assert [block for block, _ in trie.evict(3)] == blocks[:1:-1]


def test_a_shared_beginning_outlives_the_branches() -> None:
    """1 ── 2 ── 3 and 1 ── 4: only leaves go, however old what they hang from."""
    trie = Trie(10)
    trie.insert(None, [1, 2, 3], [0, 1, 2])
    trie.insert(1, [4], [3])
    trie.find(hashes(3))
    assert [block for block, _ in trie.evict(9)] == [4, 3, 2, 1]


def test_a_child_whose_parent_is_missing_is_found_when_it_is_back() -> None:
    trie = Trie(10)
    trie.insert(2, [3], [0])
    assert len(trie.prefix(hashes(1, 2, 3))) == 0
    trie.insert(None, [1, 2], [1, 2])
    assert trie.prefix(hashes(1, 2, 3)).tolist() == [1, 2, 0]
    assert [block for block, _ in trie.evict(2)] == [3, 2]


def test_of_extents_that_are_used_together_the_later_goes_first() -> None:
    """Blocks 1, 2 and 5, 6 of a prefix; another storage node has 3 and 4."""
    trie = Trie(10)
    trie.insert(None, [1, 2], [0, 1])
    trie.insert(4, [5, 6], [2, 3])
    assert len(trie.prefix(hashes(1, 2, 5, 6))) == 4
    assert [block for block, _ in trie.evict(4)] == [6, 5, 2, 1]
