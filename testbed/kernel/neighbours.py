"""Neighbours, made and read back, and forwarding entries, read back.

Clusters have tens of thousands of neighbours, all alike: a message of each is filled in once and
used for every device; entries of the usual layout are read with one unpacking, others attribute
by attribute.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Collection, Mapping

from testbed.kernel.attributes import Names, attributes
from testbed.kernel.encoding import RTM_GETNEIGH, question
from testbed.kernel.messages import NTF_MASTER, NTF_SELF, NUD_NOARP, NUD_PERMANENT, neighbour
from testbed.kernel.netlink import (
    BATCH_MESSAGES,
    HEADER,
    RouteSocket,
    number_message,
    want_answer,
)
from testbed.kernel.template import STAND_IN_INDEX, check_stand_ins, for_device
from testbed.plan.model import AnyElement, FdbEntry, Neighbour, Neighbours, Unknown

_MESSAGE = struct.Struct("=BxxxiHBB")  # struct ndmsg
_NDA_DST, _NDA_LLADDR, _NDA_VLAN, _NDA_MASTER = 1, 2, 5, 9
# The message, then NDA_DST with an IPv4 address and NDA_LLADDR with an Ethernet one.
_USUAL = struct.Struct("=16xBxxxiHBBHH4sHH6s")
_USUAL_LAYOUT = (8, _NDA_DST, 10, _NDA_LLADDR)
_STATE_NAMES = {
    0x00: "none", 0x01: "incomplete", 0x02: "reachable", 0x04: "stale", 0x08: "delay",
    0x10: "probe", 0x20: "failed", NUD_NOARP: "noarp", NUD_PERMANENT: "permanent",
}  # fmt: skip


class _Messages(dict[tuple[str, str], bytes]):
    """(address, MAC) -> its message for any device; the numbers are those of `entries`."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, str]] = []
        self.numbers: dict[tuple[str, str], int] = {}

    def __missing__(self, entry: tuple[str, str]) -> bytes:
        address, mac = entry
        packed = socket.inet_aton(address), bytes.fromhex(mac.replace(":", ""))
        message = neighbour().fill(STAND_IN_INDEX, *packed)
        number_message(message, len(self.entries))
        check_stand_ins(message, 1)
        self.numbers[entry] = len(self.entries)
        self.entries.append(entry)
        made = self[entry] = bytes(message)
        return made


class NeighbourWriter:
    """Makes neighbours; remembers the message of each, its sequence number included."""

    def __init__(self) -> None:
        self._messages = _Messages()

    def write(self, neighbours: Neighbours, ifindex: int, route_socket: RouteSocket) -> None:
        """Make the neighbours of one device.

        Raises:
            KernelError: the kernel refused one of them; the message names it.
        """
        place, messages = (neighbours.namespace, neighbours.device), self._messages
        entries = list(neighbours.entries)
        for start in range(0, len(entries), BATCH_MESSAGES):
            batch = entries[start : start + BATCH_MESSAGES]
            parts = list(map(messages.__getitem__, batch))
            data = bytearray(for_device(b"".join(parts), ifindex))
            want_answer(data, len(data) - len(parts[-1]))
            route_socket.exchange(
                data, messages.numbers[batch[-1]],
                lambda number: Neighbour(*place, *messages.entries[number]),
            )  # fmt: skip


def _dump(route_socket: RouteSocket, family: int) -> list[bytes]:
    return route_socket.dump(question(RTM_GETNEIGH, _MESSAGE.pack(family, 0, 0, 0, 0)))


def neighbour_elements(
    namespace: str, route_socket: RouteSocket, devices: Mapping[int, str], names: Names
) -> list[AnyElement]:
    """Every neighbour; those that the kernel derives from an address (multicast) left out.

    Args:
        namespace: the socket's.
        route_socket: where to ask.
        devices: index -> name.
        names: shared with other readers.
    """
    elements: list[AnyElement] = []
    found: dict[int, set[tuple[str, str]]] = {}  # by device
    ip, mac, unpack = names.ip, names.mac, _USUAL.unpack_from
    for message in _dump(route_socket, socket.AF_UNSPEC):
        if len(message) >= _USUAL.size:
            family, index, state, flags, _, l1, t1, address, l2, t2, ether = unpack(message)
            if (
                state == NUD_PERMANENT
                and (l1, t1, l2, t2) == _USUAL_LAYOUT
                and family == socket.AF_INET
                and not flags
                and index in devices
            ):
                found.setdefault(index, set()).add((ip[address], mac[ether]))
                continue
        elements += _unusual(namespace, message, devices, names)
    elements += [
        Neighbours(namespace, devices[index], frozenset(entries))
        for index, entries in found.items()
    ]
    return elements


def _unusual(
    namespace: str, message: bytes, devices: Mapping[int, str], names: Names
) -> list[AnyElement]:
    family, index, state, flags, _ = _MESSAGE.unpack_from(message, HEADER.size)
    if state & NUD_NOARP and family in (socket.AF_INET, socket.AF_INET6) and not flags:
        return []
    found = attributes(message, HEADER.size + _MESSAGE.size)
    device = devices.get(index, f"index {index}")
    address = found.get(_NDA_DST, b"")
    shown = names.ip[address] if len(address) in (4, 16) else address.hex()
    odd = [_STATE_NAMES.get(state, f"state {state:#x}")]
    if flags:
        odd.append(f"flags {flags:#x}")
    if family != socket.AF_INET:
        odd.append(f"family {family}")
    return [Unknown(namespace, "neighbour", f"{shown} of {device}", ", ".join(odd))]


def forwarding_elements(
    namespace: str,
    route_socket: RouteSocket,
    devices: Mapping[int, str],
    own_macs: Collection[tuple[int, str]],
    names: Names,
) -> list[AnyElement]:
    """Every entry of every bridge; a bridge's entries for its own devices left out.

    Args:
        namespace: the socket's.
        route_socket: where to ask.
        devices: index -> name.
        own_macs: (index, address) of the devices.
        names: shared with other readers.
    """
    elements: list[AnyElement] = []
    for message in _dump(route_socket, socket.AF_BRIDGE):
        _, index, state, flags, _ = _MESSAGE.unpack_from(message, HEADER.size)
        found = attributes(message, HEADER.size + _MESSAGE.size)
        packed = found.get(_NDA_LLADDR, b"\0")
        ether = names.mac[packed]
        device = devices.get(index, f"index {index}")
        if flags & NTF_SELF and packed[0] & 1:
            continue  # the multicast groups that a device listens to
        if state == NUD_PERMANENT and (index, ether) in own_macs:
            continue
        odd = []
        if state != NUD_NOARP:
            odd.append("learned" if state != NUD_PERMANENT else "local")
        if flags & ~NTF_MASTER or _NDA_MASTER not in found:
            odd.append(f"flags {flags:#x}")
        if _NDA_VLAN in found:
            odd.append("a VLAN")
        if odd:
            elements.append(Unknown(namespace, "fdb", f"{ether} of {device}", ", ".join(odd)))
        else:
            elements.append(FdbEntry(namespace, device, ether))
    return elements
