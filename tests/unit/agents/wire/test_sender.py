"""How many system calls messages take: shared by those that wait, or one each."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agents.wire.sender import Message, Sender
from agents.wire.transport import Completion, Sent, WriteRequest

HEADER = bytes(64)


class Calls:
    """A socket that takes at most so much in a call, and notes what each call brought."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.calls: list[bytes] = []

    def sendmsg(self, pieces: list[memoryview], _ancillary: Any, _flags: int) -> int:
        data = b"".join(pieces)[: self.most]
        self.calls.append(data)
        return len(data)


def message(number: int, payload: bytes) -> Message:
    write = WriteRequest([memoryview(payload)], 0, 0, len(payload), number, 0)
    return Message(HEADER, [memoryview(payload)], write)


def sent(sizes: list[int], most: int, *, batched: bool) -> tuple[Calls, list[int]]:
    """Queue messages, push until all have left: the calls, and what completed, in order."""
    calls = Calls(most)
    sender = Sender(calls, "peer", batched=batched)  # type: ignore[arg-type]
    for number, size in enumerate(sizes):
        sender.queue(message(number, bytes([number % 256]) * size))
    completions: list[Completion] = []
    while not sender.push(completions):
        pass
    return calls, [each.immediate for each in completions if isinstance(each, Sent)]


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=40), st.integers(1, 5000))
def test_every_byte_leaves_in_order_either_way(sizes: list[int], most: int) -> None:
    whole = b"".join(HEADER + bytes([n % 256]) * size for n, size in enumerate(sizes))
    for batched in (True, False):
        calls, completed = sent(sizes, most, batched=batched)
        assert b"".join(calls.calls) == whole
        assert completed == list(range(len(sizes)))


def test_layer_blocks_for_one_destination_share_a_call() -> None:
    calls, _ = sent([82] * 64, 1 << 20, batched=True)
    assert len(calls.calls) == 1


def test_each_has_its_own_call_if_asked() -> None:
    calls, _ = sent([82] * 64, 1 << 20, batched=False)
    assert [len(call) for call in calls.calls] == [64 + 82] * 64
