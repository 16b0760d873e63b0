"""The mesh of connections that carries control messages on the management network.

Every process of a cluster (nodes, storage nodes, scheduler, client) holds one connection to every
other.  A message goes MessagePack-encoded behind a 32-bit length.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable

from agents.control.messages import Hello, Message, decode, encode
from testbed.errors import ProgramError

CONTROL_PORT = 7000
_LENGTH = struct.Struct("!I")
_CONNECT_RETRY_S = 0.01
_LONGEST_MESSAGE_BYTES = 64 * 2**20
Handler = Callable[[str, Message], None]


class PeerLost(ProgramError):
    """Another process has gone.  It is the one that knows why: this is never the cause.

    Args:
        message: in words.
        peer: its name.
    """

    def __init__(self, message: str, peer: str = "") -> None:
        super().__init__(message)
        self.peer = peer


class Channel(asyncio.Protocol):
    """One connection of the mesh."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._pending = bytearray()
        self._transport: asyncio.Transport | None = None
        self.peer = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Decode what is whole, keep the rest."""
        pending = self._pending
        pending += data
        start = 0
        while len(pending) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(pending, start)
            if length > _LONGEST_MESSAGE_BYTES:
                raise ProgramError(f"a control message of {length} bytes from {self.peer!r}")
            end = start + _LENGTH.size + length
            if len(pending) < end:
                break
            message = decode(pending[start + _LENGTH.size : end])
            start = end
            self._mesh.received(self, message)
        del pending[:start]

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._mesh.lost(self, exc)

    def send(self, message: Message) -> None:
        """Queue a message; the management network is fast enough never to fill a buffer."""
        assert self._transport is not None
        body = encode(message)
        self._transport.write(_LENGTH.pack(len(body)) + body)

    def close(self) -> None:
        """Send what is queued, then close."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()


class Mesh:
    """The control connections of one process to all others.

    Args:
        name: this process.
        addresses: every process of the cluster and its management address.
        handle: called with (sender, message) for each message received.
        failed: called with `PeerLost` for each peer that is lost before `closing`.
        back: called with a peer that has been started again and has called.
    """

    def __init__(
        self,
        name: str,
        addresses: dict[str, str],
        handle: Handler,
        failed: Callable[[Exception], None],
        back: Callable[[str], None] = lambda peer: None,
    ) -> None:
        self._name = name
        self._addresses = addresses
        self._handle = handle
        self._failed = failed
        self._back = back
        self._channels: dict[str, Channel] = {}
        self._gone: set[str] = set()
        self._complete = asyncio.Event()
        self._server: asyncio.Server | None = None
        self.closing = False
        self.messages_sent = 0

    async def connect(self) -> None:
        """Listen, call every process whose name comes before ours, wait for the others."""
        await self._listen()
        for peer in sorted(p for p in self._addresses if p < self._name):
            while not await self._call(peer):
                await asyncio.sleep(_CONNECT_RETRY_S)  # it has not started to listen yet
        if len(self._addresses) > 1:
            await self._complete.wait()

    async def rejoin(self) -> None:
        """As `connect`, of a process that was started again: all others listen, if they are there.

        Whoever does not is lost: `failed` is told.
        """
        await self._listen()
        others = sorted(set(self._addresses) - {self._name})
        absent = [peer for peer in others if not await self._call(peer)]
        self._gone.update(absent)
        for peer in absent:
            self._failed(PeerLost(f"{peer} does not answer", peer))

    async def _listen(self) -> None:
        own = self._addresses[self._name]
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Channel(self), own, CONTROL_PORT)

    async def _call(self, peer: str) -> bool:
        """Connect to a peer, unless it does not listen."""
        try:
            _, channel = await asyncio.get_running_loop().create_connection(
                lambda: Channel(self), self._addresses[peer], CONTROL_PORT
            )
        except ConnectionRefusedError:
            return False
        channel.send(Hello(self._name))
        self._known(channel, peer)
        return True

    def _known(self, channel: Channel, peer: str) -> None:
        channel.peer = peer
        self._channels[peer] = channel
        self._gone.discard(peer)
        if len(self._channels) == len(self._addresses) - 1:
            self._complete.set()

    def received(self, channel: Channel, message: Message) -> None:
        """A message has arrived on a channel."""
        if isinstance(message, Hello):
            again = message.name in self._gone or message.name in self._channels
            self._known(channel, message.name)
            if again:
                self._back(message.name)
        elif self._channels.get(channel.peer) is channel:
            self._handle(channel.peer, message)

    def lost(self, channel: Channel, error: Exception | None) -> None:
        """A channel has closed."""
        if self.closing or channel.peer in self._gone:
            return
        if channel.peer:
            if self._channels.get(channel.peer) is not channel:
                return  # another has taken its place
            self._gone.add(channel.peer)
            del self._channels[channel.peer]
        why = f": {error}" if error else ""
        self._failed(PeerLost(f"lost the connection to {channel.peer}{why}", channel.peer))

    def drop(self, peer: str) -> None:
        """Have no more to do with a peer: nothing that it still says is heard."""
        self._gone.add(peer)
        channel = self._channels.pop(peer, None)
        if channel is not None:
            channel.abort()

    def send(self, peer: str, message: Message) -> None:
        """Send a message to a process; to itself it is handled in the next turn of the loop.

        One that has gone gets nothing.
        """
        if peer in self._gone:
            return
        self.messages_sent += 1
        if peer == self._name:
            asyncio.get_running_loop().call_soon(self._handle, peer, message)
        else:
            self._channels[peer].send(message)

    def close(self) -> None:
        """Close all connections; losing a peer is no error any more."""
        self.closing = True
        for channel in self._channels.values():
            channel.close()
        if self._server is not None:
            self._server.close()
