"""Waiting until links carry frames: the kernel sees to that in the background.

It does so for a hundred or two of devices, and for the next ones a second later.  A device that
somebody asks for by its index, though, is seen to before the answer (since Linux 6.8).
"""

from __future__ import annotations

import select
import time
from collections.abc import Mapping

from testbed.errors import KernelError
from testbed.kernel.links import is_settled
from testbed.kernel.messages import get_link
from testbed.kernel.netlink import RouteSocket

_SETTLE_S = 10.0
_POLL_MS = 1
_ASKED_AT_ONCE = 32  # an answer takes up to 4 KiB of the receive buffer


def settle(sockets: Mapping[str, RouteSocket], devices: Mapping[str, list[int]]) -> None:
    """Wait.

    Args:
        sockets: of the namespaces.
        devices: namespace -> indexes of the devices that are to carry frames.

    Raises:
        KernelError: they do not, and have had ample time.
    """
    waiting = devices
    deadline_s = time.monotonic() + _SETTLE_S
    poll = select.poll()
    while waiting := unsettled(sockets, waiting):
        if time.monotonic() > deadline_s:
            raise KernelError(
                f"links in {', '.join(sorted(waiting))} do not come up",
                hint="the machine may be overloaded; try again when it is quieter",
            )
        poll.poll(_POLL_MS)


def unsettled(
    sockets: Mapping[str, RouteSocket], devices: Mapping[str, list[int]]
) -> dict[str, list[int]]:
    """Those of some devices that do not carry frames yet; arguments as above."""
    left = {}
    for namespace, indexes in devices.items():
        if found := _unsettled(sockets[namespace], indexes):
            left[namespace] = found
    return left


def _unsettled(route_socket: RouteSocket, indexes: list[int]) -> list[int]:
    fill, left = get_link().fill, []
    for start in range(0, len(indexes), _ASKED_AT_ONCE):
        asked = indexes[start : start + _ASKED_AT_ONCE]
        answers = route_socket.ask([bytes(fill(index)) for index in asked])
        left += [
            index
            for index, answer in zip(asked, answers, strict=True)
            if answer is None or not is_settled(answer)
        ]
    return left
