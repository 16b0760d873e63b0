"""Traffic that keeps queues full, from one process: sockets in several namespaces, one selector."""

from __future__ import annotations

import contextlib
import selectors
import socket
from collections.abc import Callable, Mapping
from typing import Self

from testbed.kernel.namespaces import inside

_DATAGRAM_BYTES = 4000
_PIECE = bytes(1 << 16)
_SEND_BUFFER_BYTES = 1 << 19  # what keeps a queue full while this process waits for a core
_STEP_S = 0.01


class Pump:
    """Flows that always have something to send.  A context manager.

    Args:
        nets: namespace -> descriptor.
    """

    def __init__(self, nets: Mapping[str, int]) -> None:
        self._nets = nets
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def datagrams(self, sender: str, receiver: str, address: str, tos: int) -> None:
        """A UDP flow: its socket is full as long as its first queue is."""
        there = self._socket(receiver, socket.SOCK_DGRAM)
        there.bind((address, 0))
        here = self._socket(sender, socket.SOCK_DGRAM, tos)
        here.connect(there.getsockname())
        self._selector.register(there, selectors.EVENT_READ, _read)
        self._selector.register(here, selectors.EVENT_WRITE, _send_datagram)

    def stream(self, sender: str, receiver: str, address: str, tos: int = 0) -> None:
        """A TCP flow, read as it arrives."""
        listener = self._socket(receiver, socket.SOCK_STREAM)
        listener.setblocking(True)
        listener.bind((address, 0))
        listener.listen()
        here = self._socket(sender, socket.SOCK_STREAM, tos)
        here.setblocking(True)
        here.connect(listener.getsockname())
        there, _ = listener.accept()
        listener.close()
        for sock in (here, there):
            sock.setblocking(False)
        self._selector.register(there, selectors.EVENT_READ, _read)
        self._selector.register(here, selectors.EVENT_WRITE, _send_piece)

    def _socket(self, namespace: str, kind: int, tos: int = 0) -> socket.socket:
        with inside(self._nets[namespace]):
            made = socket.socket(socket.AF_INET, kind)
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
        if kind == socket.SOCK_DGRAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        return made

    def until(self, condition: Callable[[], bool]) -> None:
        """Send and receive until it holds; pytest's timeout bounds it."""
        while not condition():
            for key, _ in self._selector.select(_STEP_S):
                with contextlib.suppress(BlockingIOError):
                    key.data(key.fileobj)


def _read(sock: socket.socket) -> None:
    sock.recv(1 << 18)


def _send_piece(sock: socket.socket) -> None:
    sock.send(_PIECE)


def _send_datagram(sock: socket.socket) -> None:
    while True:
        sock.send(_PIECE[:_DATAGRAM_BYTES])
