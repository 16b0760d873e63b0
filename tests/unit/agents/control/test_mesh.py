"""The control mesh over real sockets."""

from __future__ import annotations

import asyncio

import pytest

from agents.control.mesh import Mesh, PeerLost
from agents.control.messages import Credit, Message, ReadFinished, decode, encode


def test_a_mesh_connects_everybody_and_keeps_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """a, b, c on 127.0.0.x: every one hears every other, messages in order."""
    monkeypatch.setattr("agents.control.mesh.CONTROL_PORT", 7391)
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
                    mesh.send(peer, ReadFinished(sender, number))
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
    monkeypatch.setattr("agents.control.mesh.CONTROL_PORT", 7392)
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


def test_a_message_survives_its_encoding() -> None:
    message = Credit(2**39, 30, 2**63, 2**40)
    data = encode(message)
    assert decode(data) == message


def test_a_peer_that_was_dropped_is_not_heard_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """a - b - c: a drops b, which goes on talking."""
    monkeypatch.setattr("agents.control.mesh.CONTROL_PORT", 7393)
    addresses = {"a": "127.0.7.1", "b": "127.0.7.2", "c": "127.0.7.3"}

    async def scene() -> None:
        heard: list[str] = []
        lost: list[Exception] = []
        a = Mesh("a", addresses, lambda s, m: heard.append(s), lost.append)
        b, c = (Mesh(n, addresses, lambda s, m: None, lost.append) for n in "bc")
        await asyncio.gather(a.connect(), b.connect(), c.connect())
        b.send("a", ReadFinished("b", 1))
        a.drop("b")
        a.send("b", ReadFinished("a", 1))  # goes nowhere
        c.send("a", ReadFinished("c", 1))
        async with asyncio.timeout(10):
            while not (heard and lost):
                await asyncio.sleep(0.001)
        assert heard == ["c"]
        (error,) = lost
        assert isinstance(error, PeerLost)
        assert error.peer == "a"
        b.send("a", ReadFinished("b", 2))  # it knows that a has gone
        for mesh in (a, b, c):
            mesh.closing = True
        for mesh in (a, b, c):
            mesh.close()

    asyncio.run(scene())


def test_a_process_that_is_started_again_is_welcomed_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """a - b - c: c goes, b with it, and another c comes: it finds a, and that b is not there."""
    monkeypatch.setattr("agents.control.mesh.CONTROL_PORT", 7394)
    addresses = {"a": "127.0.7.1", "b": "127.0.7.2", "c": "127.0.7.3"}

    async def scene() -> None:
        heard: list[Message] = []
        lost: list[str] = []
        back: list[str] = []
        absent: list[str] = []
        a = Mesh(
            "a", addresses, lambda s, m: heard.append(m),
            lambda e: lost.append(getattr(e, "peer", "")), back.append,
        )  # fmt: skip
        b, c = (Mesh(n, addresses, lambda s, m: None, lambda e: None) for n in "bc")
        await asyncio.gather(a.connect(), b.connect(), c.connect())
        for mesh in (b, c):
            mesh.closing = True
            mesh.close()
        async with asyncio.timeout(10):
            while len(lost) < 2:
                await asyncio.sleep(0.001)
        assert sorted(lost) == ["b", "c"]
        again = Mesh(
            "c", addresses, lambda s, m: None, lambda e: absent.append(getattr(e, "peer", ""))
        )
        await again.rejoin()
        assert absent == ["b"]
        again.send("b", ReadFinished("c", 1))
        again.send("a", ReadFinished("c", 2))
        async with asyncio.timeout(10):
            while not heard:
                await asyncio.sleep(0.001)
        assert back == ["c"]
        assert heard == [ReadFinished("c", 2)]
        for mesh in (a, again):
            mesh.closing = True
        for mesh in (a, again):
            mesh.close()

    asyncio.run(scene())
