"""The control mesh over real sockets, and its bookkeeping of answers."""

from __future__ import annotations

import asyncio

import pytest

from agents import control
from agents.control import Credit, LookupReply, Mesh, Message, PeerLost, ReadFinished, Replies


def test_a_mesh_connects_everybody_and_keeps_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """a, b, c on 127.0.0.x: every one hears every other, messages in order."""
    monkeypatch.setattr(control, "CONTROL_PORT", 7391)
    addresses = {"a": "127.0.7.1", "b": "127.0.7.2", "c": "127.0.7.3"}

    async def scene() -> dict[str, list[tuple[str, Message]]]:
        heard: dict[str, list[tuple[str, Message]]] = {name: [] for name in addresses}
        errors: list[Exception] = []
        meshes = {
            name: Mesh(name, addresses, lambda s, m, n=name: heard[n].append((s, m)), errors.append)
            for name in addresses
        }
        await asyncio.wait_for(asyncio.gather(*(m.connect() for m in meshes.values())), 10)
        for sender, mesh in meshes.items():
            for peer in addresses:
                for number in range(50):
                    mesh.send(peer, ReadFinished(sender, number, number))
        async with asyncio.timeout(10):
            while any(len(got) < 150 for got in heard.values()):
                await asyncio.sleep(0.001)
        for mesh in meshes.values():
            mesh.closing = True
        for mesh in meshes.values():
            mesh.close()
        assert not errors
        return heard

    heard = asyncio.run(scene())
    for got in heard.values():
        for sender in addresses:
            numbers = [m.request for s, m in got if s == sender and isinstance(m, ReadFinished)]
            assert numbers == list(range(50))


def test_losing_a_peer_is_an_error_unless_closing(monkeypatch: pytest.MonkeyPatch) -> None:
    """a - b: b goes away without a word."""
    monkeypatch.setattr(control, "CONTROL_PORT", 7392)
    addresses = {"a": "127.0.7.1", "b": "127.0.7.2"}

    async def scene() -> Exception:
        lost: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        a = Mesh("a", addresses, lambda s, m: None, lost.set_result)
        b = Mesh("b", addresses, lambda s, m: None, lambda e: None)
        await asyncio.gather(a.connect(), b.connect())
        b.close()
        error = await asyncio.wait_for(lost, 10)
        a.close()
        return error

    error = asyncio.run(scene())
    assert isinstance(error, PeerLost)
    assert error.message == "lost the connection to b"


def test_answers_find_their_waiters() -> None:
    async def scene() -> None:
        replies = Replies()
        lookup = replies.expect("lookup", 7)
        other = replies.expect("lookup", 8)
        assert replies.resolve("lookup", 7, LookupReply(7, 3))
        assert not replies.resolve("lookup", 9, LookupReply(9, 3))
        assert await lookup == LookupReply(7, 3)
        replies.fail("lookup", 8, RuntimeError("gone"))
        with pytest.raises(RuntimeError, match="gone"):
            await other

    asyncio.run(scene())


def test_a_message_survives_its_encoding() -> None:
    message = Credit(2**39, 30, 2**63, 2**40)
    data = control._encoder.encode(message)
    assert control._decoder.decode(data) == message
