"""When memory is quiet: what is expected, what has landed, what will never come."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agents.incoming import WrongBytes
from agents.loss import NodeGone
from agents.ports import Ports
from agents.process import Process
from agents.wire.immediates import Kind
from agents.wire.pair_names import pair_name
from agents.wire.transfers import Transfer
from testbed.errors import ProgramError

NAME = pair_name("pe0g0", "de0", "cnic0", "caller")
HELLO = pair_name("pe0g0", "de0", "cnic0", "called")
KEEP = 30.0


class Side:
    """One end: its ports, its memory, and the events that it recorded."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []
        self.failures: list[BaseException] = []
        process = SimpleNamespace(
            name="side",
            records=[],
            mesh=SimpleNamespace(closing=False),
            event=lambda kind, request, detail: self.events.append((kind, request)),
            _fail=self.failures.append,
        )
        self.ports = Ports(cast(Process, process), write_bytes=1000)
        self.memory = memoryview(bytearray(64_000))
        self.key = self.ports.register(self.memory)


def between(scene: Callable[[Side, Side], Awaitable[None]]) -> None:
    """Run a scene between two ends of a queue pair: `sender >> receiver` on the loopback."""

    async def run() -> None:
        sender, receiver = Side(), Side()
        server = socket.create_server(("127.0.0.1", 0))
        receiver.ports.transport.listen(server, receiver.ports.adopted)
        client = socket.create_connection(server.getsockname())
        sender.ports.adopted(NAME, sender.ports.transport.adopt(client, NAME, hello=HELLO))
        await receiver.ports.connected(1)
        try:
            await asyncio.wait_for(scene(sender, receiver), KEEP)
        finally:
            for side in (sender, receiver):
                side.ports._process.mesh.closing = True
                side.ports.close()
        assert not sender.failures + receiver.failures

    asyncio.run(run())


def transfer(to: Side, source: bytes, part: int = 0, **fields: Any) -> Transfer:
    kind = fields.pop("kind", Kind.KV_RETURN)
    return Transfer(kind, 7, part, [memoryview(source)], to.key, 4000 * part, **fields)


def test_a_future_is_of_its_own_transfer_even_if_parts_repeat() -> None:
    async def scene(sender: Side, receiver: Side) -> None:
        # Chunks of a prompt return the same group one after the other.
        for value in (b"a", b"b"):
            arrived = receiver.ports.incoming.expect(7, Kind.KV_RETURN, 2)
            sent = sender.ports.post(NAME, transfer(receiver, value * 2500, 2))
            assert (await sent).length == 500
            await arrived
            assert bytes(receiver.memory[8000:10_500]) == value * 2500

    between(scene)


def test_a_wrong_write_is_told_when_the_last_one_has_landed() -> None:
    async def scene(sender: Side, receiver: Side) -> None:
        arrived = receiver.ports.incoming.expect(7, Kind.KV_RETURN)
        source = bytearray(3000)
        sending = transfer(receiver, bytes(3000), digest=True)
        # The digest is taken when it is posted; then a bit of the first write flips.
        sending = sending._replace(sources=[memoryview(source)])
        sent = sender.ports.post(NAME, sending)
        source[5] ^= 1
        await sent
        with pytest.raises(WrongBytes):
            await arrived
        assert bytes(receiver.memory[:3000]) == bytes(source)  # all three writes are there
        assert receiver.events == [("wrong-bytes", 7)]

    between(scene)


def test_who_gives_up_says_how_much_will_land() -> None:
    async def scene(sender: Side, receiver: Side) -> None:
        ports = receiver.ports
        arrivals = [ports.incoming.expect(7, Kind.KV_RETURN, part) for part in range(4)]
        gone = RuntimeError("gave up")
        # Its word overtakes its bytes: two of four are on their way.
        ports.incoming.end(7, Kind.KV_RETURN, 2, gone)
        await asyncio.sleep(0)
        assert not any(arrival.done() for arrival in arrivals)
        for part in (0, 1):
            sender.ports.post(NAME, transfer(receiver, b"x" * 3000, part))
        ended = await asyncio.gather(*arrivals, return_exceptions=True)
        assert [isinstance(result, RuntimeError) for result in ended] == [False, False, True, True]
        # Who begins to wait only now is told at once.
        with pytest.raises(RuntimeError, match="gave up"):
            await ports.incoming.expect(7, Kind.KV_RETURN, 3)
        ports.forget(7)
        assert not receiver.events

    between(scene)


def test_one_that_never_comes_fails_alone() -> None:
    async def scene(sender: Side, receiver: Side) -> None:
        ports = receiver.ports
        first, second = (ports.incoming.expect(7, Kind.STORAGE_READ, part) for part in (0, 1))
        ports.incoming.fail(7, Kind.STORAGE_READ, 0, RuntimeError("not stored"))
        with pytest.raises(RuntimeError, match="not stored"):
            await first
        assert not second.done()
        sender.ports.post(NAME, transfer(receiver, b"y" * 10, 1, kind=Kind.STORAGE_READ))
        await second

    between(scene)


def test_transfers_that_nobody_expects_can_be_counted() -> None:
    async def scene(sender: Side, receiver: Side) -> None:
        ports = receiver.ports
        ports.handle(Kind.CHUNK_RETURN, lambda what, received: None)
        three = asyncio.ensure_future(ports.incoming.landed(7, Kind.CHUNK_RETURN, 3))
        for part in (0, 1, 0):
            assert not three.done()
            await sender.ports.post(
                NAME, transfer(receiver, b"z" * 1500, part, kind=Kind.CHUNK_RETURN)
            )
        await three
        await ports.incoming.landed(7, Kind.CHUNK_RETURN, 2)  # long since

    between(scene)


def test_memory_is_not_forgotten_while_something_will_land_in_it() -> None:
    async def scene(sender: Side, receiver: Side) -> None:
        expected = receiver.ports.incoming.expect(7, Kind.KV_RETURN, 3)
        with pytest.raises(ProgramError, match="KV_RETURN 3 is still to come"):
            receiver.ports.forget(7)
        assert expected.cancelled()

    between(scene)


def test_two_cannot_wait_for_one() -> None:
    async def scene(sender: Side, receiver: Side) -> None:
        receiver.ports.incoming.expect(7, Kind.H2D).cancel()
        with pytest.raises(ProgramError, match="two wait"):
            receiver.ports.incoming.expect(7, Kind.H2D)

    between(scene)


def test_of_a_lost_node_nothing_lands_and_nothing_is_waited_for() -> None:
    """`sender` is pe0: half of what it was to send has landed when it is lost."""

    async def scene(sender: Side, receiver: Side) -> None:
        ports = receiver.ports
        arrivals = [ports.incoming.expect(7, Kind.KV_RETURN, part, "pe0") for part in range(3)]
        others = ports.incoming.expect(7, Kind.STORAGE_READ, 0, "st0")
        ports.handle(Kind.CHUNK_RETURN, lambda what, received: None)
        chunks = asyncio.ensure_future(ports.incoming.landed(7, Kind.CHUNK_RETURN, 2, "pe0"))
        sender.ports.post(NAME, transfer(receiver, b"x" * 3000))
        await arrivals[0]
        sender.ports.post(NAME, transfer(receiver, b"late" * 1000, 1))
        ports.lose("pe0")
        before = bytes(receiver.memory)
        ended = await asyncio.gather(*arrivals, chunks, return_exceptions=True)
        assert [isinstance(result, NodeGone) for result in ended] == [False, True, True, True]
        with pytest.raises(NodeGone):  # who begins to wait only now
            await ports.incoming.expect(7, Kind.KV_RETURN, 3, "pe0")
        with pytest.raises(NodeGone):
            await ports.incoming.landed(7, Kind.CHUNK_RETURN, 1, "pe0")
        # Whoever wants to send to it need not wait either; of others everything is as before.
        assert await ports.post(HELLO, transfer(sender, b"y" * 10)) is None
        assert not others.done()
        ports.incoming.fail(7, Kind.STORAGE_READ, 0, RuntimeError("ended"))
        with pytest.raises(RuntimeError):
            await others
        ports.forget(7)
        while not sender.failures:
            await asyncio.sleep(0.001)
        assert bytes(receiver.memory) == before
        assert not receiver.failures
        sender.failures.clear()  # it sees its queue pair reset

    between(scene)


def test_what_was_posted_to_a_lost_node_is_given_up() -> None:
    async def scene(sender: Side, receiver: Side) -> None:
        much = bytes(1 << 24)
        posted = sender.ports.post(
            NAME, Transfer(Kind.H2D, 7, 0, [memoryview(much)], receiver.key, 0)
        )
        assert not posted.done()
        sender.ports.lose("de0")
        assert await posted is None
        while not receiver.failures:  # a reset
            await asyncio.sleep(0.001)
        receiver.failures.clear()

    between(scene)


def test_a_process_that_ends_waits_for_nothing_that_it_has_posted() -> None:
    """Cleaning up waits until memory is read no more; what is never sent would hold it for ever."""

    async def scene(sender: Side, receiver: Side) -> None:
        much = [memoryview(bytes(1 << 24))]
        posted = sender.ports.post(NAME, Transfer(Kind.H2D, 7, 0, much, receiver.key, 0))
        assert not posted.done()
        sender.ports.close()
        assert await posted is None
        late = sender.ports.post(NAME, transfer(receiver, b"late"))
        assert await late is None
        receiver.ports._process.mesh.closing = True

    between(scene)
