"""Devices, read back: bridges, their ports, veth pairs, IFBs, and what else is there."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from testbed.kernel import encoding
from testbed.kernel.attributes import attributes, text, uint8, uint32
from testbed.kernel.encoding import RTM_GETLINK
from testbed.kernel.netlink import HEADER, RouteSocket
from testbed.plan.model import AnyElement, Bridge, Ifb, Port, Unknown, Veth

_MESSAGE = struct.Struct("=BxHiII")  # struct ifinfomsg
_ATTRIBUTES_AT = HEADER.size + _MESSAGE.size
IFF_UP, IFF_LOOPBACK, IFF_RUNNING, IFF_NOARP = 0x1, 0x8, 0x40, 0x80
IFF_PROMISC, IFF_ALLMULTI = 0x100, 0x200
# linux/if_link.h
_ADDRESS, _NAME, _MTU, _LINK, _MASTER, _TXQLEN, _OPERSTATE, _LINKINFO = 1, 3, 4, 5, 10, 13, 16, 18
_NUM_TX_QUEUES, _NUM_RX_QUEUES = 31, 32
_EXT_MASK, _LINK_NETNSID, _GSO_MAX_SEGS, _GSO_MAX_SIZE, _XDP = 29, 37, 40, 41, 43
_GSO_IPV4_MAX_SIZE, _PROTO_DOWN, _TSO_MAX_SEGS = 63, 39, 60
_KIND, _DATA, _SLAVE_KIND, _SLAVE_DATA = 1, 2, 4, 5
_RTEXT_FILTER_SKIP_STATS = 1 << 3
_BR_STP_STATE, _BR_VLAN_FILTERING, _BR_MCAST_SNOOPING = 5, 7, 23
_PORT_STATE, _LEARNING, _UNICAST_FLOOD, _MCAST_FLOOD, _BCAST_FLOOD = 1, 8, 9, 27, 30
_PORT_OPTIONS = {
    4: "hairpin", 5: "guard", 6: "root block", 7: "fast leave", 10: "proxy ARP",
    12: "proxy ARP for wireless", 28: "multicast to unicast", 29: "VLAN tunnel",
    31: "group forwarding mask", 32: "neighbour suppression", 33: "isolated", 39: "locked",
    40: "MAC authentication bypass",
}  # fmt: skip
_FORWARDING = 3  # BR_STATE_FORWARDING
_OPERSTATE_UP = 6  # RFC 2863
# Devices that a loaded module makes in every new network namespace; they stay down.
_FALLBACK_DEVICES = frozenset(
    ("tunl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "sit0", "ip6tnl0", "ip6gre0")
)


class Link(NamedTuple):
    """A device of one namespace, as the kernel describes it."""

    ifindex: int
    name: str
    kind: str
    flags: int
    mtu: int
    mac: str
    txqueuelen: int
    gso_max_bytes: int
    peer_ifindex: int
    peer_elsewhere: bool  # the peer is in another namespace
    master: int
    slave_kind: str
    port: dict[int, bytes]  # IFLA_BRPORT_…
    bridge: dict[int, bytes]  # IFLA_BR_…
    odd: tuple[str, ...]  # what a plan cannot ask for

    @property
    def up(self) -> bool:
        """Set up by the administrator."""
        return bool(self.flags & IFF_UP)


def list_links(route_socket: RouteSocket) -> list[Link]:
    """Every device of the socket's namespace."""
    fixed = _MESSAGE.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    less = encoding.uint32(_EXT_MASK, _RTEXT_FILTER_SKIP_STATS)
    request = encoding.question(RTM_GETLINK, fixed, less)
    return [_link(message) for message in route_socket.dump(request)]


def is_settled(message: bytes) -> bool:
    """The device that a message is about carries frames, and so does the bridge that it is in.

    IFF_RUNNING would not do: it is also set while the kernel has yet to deal with a new device.
    """
    found = attributes(message, _ATTRIBUTES_AT)
    if uint8(found.get(_OPERSTATE)) != _OPERSTATE_UP:
        return False
    info = attributes(found.get(_LINKINFO, b""))
    if text(info.get(_SLAVE_KIND)) != "bridge":
        return True
    port = attributes(info.get(_SLAVE_DATA, b""))
    return uint8(port.get(_PORT_STATE)) == _FORWARDING


def _link(message: bytes) -> Link:
    _, _, index, flags, _ = _MESSAGE.unpack_from(message, HEADER.size)
    found = attributes(message, _ATTRIBUTES_AT)
    info = attributes(found.get(_LINKINFO, b""))
    kind, slave_kind = text(info.get(_KIND)), text(info.get(_SLAVE_KIND))
    return Link(
        index, text(found.get(_NAME)), kind, flags,
        uint32(found.get(_MTU)) or 0, found.get(_ADDRESS, b"").hex(":"),
        uint32(found.get(_TXQLEN)) or 0, uint32(found.get(_GSO_MAX_SIZE)) or 0,
        uint32(found.get(_LINK)) or 0,
        _LINK_NETNSID in found, uint32(found.get(_MASTER)) or 0, slave_kind,
        attributes(info.get(_SLAVE_DATA, b"")) if slave_kind == "bridge" else {},
        attributes(info.get(_DATA, b"")) if kind == "bridge" else {},
        tuple(_odd(found, flags, kind)),
    )  # fmt: skip


def _odd(found: dict[int, bytes], flags: int, kind: str) -> list[str]:
    """What a device may have that no plan asks for."""
    odd = []
    queues = uint32(found.get(_NUM_TX_QUEUES)), uint32(found.get(_NUM_RX_QUEUES))
    if kind == "veth" and queues != (1, 1):
        odd.append(f"{queues[0]} queues to send and {queues[1]} to receive")
    size = uint32(found.get(_GSO_MAX_SIZE))
    ipv4 = uint32(found.get(_GSO_IPV4_MAX_SIZE))  # since Linux 6.3
    if ipv4 is not None and ipv4 != size:
        odd.append(f"aggregation limit {ipv4} for IPv4 but {size} for others")
    segments, limit = uint32(found.get(_GSO_MAX_SEGS)), uint32(found.get(_TSO_MAX_SEGS))
    if limit is not None and segments != limit:
        odd.append(f"aggregation limit of {segments} segments")
    if attributes(found.get(_XDP, b"")).get(2, b"\0") != b"\0":  # IFLA_XDP_ATTACHED
        odd.append("an XDP program")
    if uint8(found.get(_PROTO_DOWN)):
        odd.append("protocol down")
    for flag, name in ((IFF_ALLMULTI, "all multicast"), (IFF_PROMISC, "promiscuous")):
        if flags & flag:
            odd.append(name)
    return odd


def link_elements(links: Mapping[str, Sequence[Link]]) -> list[AnyElement]:
    """The devices of all namespaces as elements.

    The two ends of a veth are found by their indexes alone: each end states its own and its
    peer's, and these are unique in a cluster.

    Args:
        links: namespace -> its devices.
    """
    by_ends: dict[tuple[int, int], list[tuple[str, Link]]] = {}
    for namespace, devices in links.items():
        for link in devices:
            if link.kind == "veth":
                by_ends.setdefault((link.ifindex, link.peer_ifindex), []).append((namespace, link))
    elements: list[AnyElement] = []
    for namespace, devices in links.items():
        names = {link.ifindex: link.name for link in devices}
        for link in devices:
            if link.flags & IFF_LOOPBACK:
                elements += _loopback(namespace, link)
                continue
            if link.name in _FALLBACK_DEVICES and not link.up:
                continue
            elements += _device(namespace, link, by_ends)
            if link.master:
                elements += _port(namespace, link, names)
    return elements


def _unknown(namespace: str, kind: str, name: str, details: Sequence[str]) -> list[AnyElement]:
    return [Unknown(namespace, kind, name, ", ".join(details))] if details else []


def _loopback(namespace: str, link: Link) -> list[AnyElement]:
    odd = [*link.odd]
    if not link.up:
        odd.append("down")
    return _unknown(namespace, "loopback", link.name, odd)


def _device(
    namespace: str, link: Link, by_ends: Mapping[tuple[int, int], list[tuple[str, Link]]]
) -> list[AnyElement]:
    queueing = (link.gso_max_bytes, link.txqueuelen, link.up)
    odd = list(link.odd)
    element: AnyElement
    match link.kind:
        case "bridge":
            element = Bridge(namespace, link.name, link.mac, link.mtu, link.up)
            odd += _bridge_oddities(link)
        case "ifb":
            element = Ifb(namespace, link.name, link.mac, link.mtu, *queueing)
            # It always is without ARP; the flag is the kernel's.
        case "veth":
            peers = [
                (where, peer)
                for where, peer in by_ends.get((link.peer_ifindex, link.ifindex), ())
                if (where != namespace) == link.peer_elsewhere
            ]
            # An end without a partner shows as a difference: no namespace is called "".
            where, peer = peers[0] if len(peers) == 1 else ("", None)
            element = Veth(
                namespace, link.name, where, peer.name if peer else "", link.mac, link.mtu,
                *queueing,
            )  # fmt: skip
        case kind:
            return [Unknown(namespace, "link", link.name, f"a device of kind {kind or 'none'}")]
    if link.kind != "ifb" and link.flags & IFF_NOARP:
        odd.append("without ARP")
    return [element, *_unknown(namespace, "device", link.name, odd)]


def _bridge_oddities(link: Link) -> list[str]:
    odd = []
    if uint32(link.bridge.get(_BR_STP_STATE)):
        odd.append("spanning tree protocol")
    if uint8(link.bridge.get(_BR_VLAN_FILTERING)):
        odd.append("VLAN filtering")
    if uint8(link.bridge.get(_BR_MCAST_SNOOPING)):
        odd.append("multicast snooping")
    return odd


def _port(namespace: str, link: Link, names: Mapping[int, str]) -> list[AnyElement]:
    master = names.get(link.master, f"index {link.master}")
    if link.slave_kind != "bridge":
        detail = f"belongs to {master} as {link.slave_kind}"
        return [Unknown(namespace, "port", link.name, detail)]
    flags = (
        bool(uint8(link.port.get(option)))
        for option in (_LEARNING, _UNICAST_FLOOD, _MCAST_FLOOD, _BCAST_FLOOD)
    )
    odd = [name for option, name in _PORT_OPTIONS.items() if any(link.port.get(option, b""))]
    if link.flags & IFF_RUNNING and uint8(link.port.get(_PORT_STATE)) != _FORWARDING:
        odd.append("not forwarding")
    port = Port(namespace, link.name, master, *flags)
    return [port, *_unknown(namespace, "port", link.name, odd)]
