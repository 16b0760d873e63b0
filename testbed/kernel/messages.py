"""The shape of every message that makes devices, addresses and forwarding (rtnetlink(7)).

Each template is made when it is first used.  Integers are in host order; addresses are packed.
"""

from __future__ import annotations

import functools
import socket
import struct

from testbed.kernel.encoding import (
    CHANGE,
    NEW,
    RTM_GETLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWROUTE,
    RTM_NEWRULE,
    RTM_SETLINK,
    attribute,
    message,
    text,
    uint8,
    uint32,
)
from testbed.kernel.template import Template, address, device_name, integer, mac

LONGEST_NAME_BYTES = 15  # IFNAMSIZ without the zero
IFF_UP = 0x1
IFA_F_NOPREFIXROUTE = 0x200
RT_SCOPE_LINK, RTPROT_STATIC, RTN_UNICAST = 253, 4, 1
NUD_NOARP, NUD_PERMANENT = 0x40, 0x80
NTF_SELF, NTF_MASTER = 0x2, 0x4
FR_ACT_TO_TBL = 1
# linux/if_link.h
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_TXQLEN, IFLA_LINKINFO = 1, 3, 4, 10, 13, 18
IFLA_NET_NS_FD, IFLA_EXT_MASK = 28, 29
IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES, IFLA_GSO_MAX_SIZE = 31, 32, 41
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
RTEXT_FILTER_SKIP_STATS = 1 << 3
_VETH_INFO_PEER = 1
_BR_STP_STATE, _BR_MCAST_SNOOPING = 5, 23
_PORT_FLAGS = {"learning": 8, "flood": 9, "multicast_flood": 27, "broadcast_flood": 30}
# linux/if_addr.h, linux/rtnetlink.h, linux/fib_rules.h, linux/neighbour.h
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_RTA_DST, _RTA_OIF, _RTA_PREFSRC, _RTA_METRICS, _RTA_TABLE, _RTAX_RTO_MIN = 1, 4, 7, 8, 15, 13
_FRA_SRC, _FRA_PRIORITY, _FRA_TABLE = 2, 6, 15
_NDA_DST, _NDA_LLADDR = 1, 2

_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg
_ROUTE = struct.Struct("=BBBBBBBBI")  # struct rtmsg, struct fib_rule_hdr
_NEIGHBOUR = struct.Struct("=BxxxiHBB")  # struct ndmsg


def _link(index: int, flags: int = 0, change: int = 0) -> bytes:
    return _LINK.pack(socket.AF_UNSPEC, 0, index, flags, change)


def _device(name: bytes, mac: bytes, mtu: int) -> bytes:
    return text(IFLA_IFNAME, name) + attribute(IFLA_ADDRESS, mac) + uint32(IFLA_MTU, mtu)


def _queueing(gso_max_bytes: int, txqueuelen: int) -> bytes:
    return uint32(IFLA_GSO_MAX_SIZE, gso_max_bytes) + uint32(IFLA_TXQLEN, txqueuelen)


# A veth has a queue for each processor otherwise, of which it uses one: the others are given back
# when it is made, and each time that waits for a grace period of the kernel.
_ONE_QUEUE = uint32(IFLA_NUM_TX_QUEUES, 1) + uint32(IFLA_NUM_RX_QUEUES, 1)


# --- devices ---------------------------------------------------------------------------------


@functools.cache
def veth() -> Template:
    """A pair: one end here, perhaps in a bridge (master 0: none), the other in a namespace."""

    def encode(
        index: int, name: bytes, mac: bytes, mtu: int, gso: int, queue: int, master: int,
        peer_index: int, peer_name: bytes, peer_mac: bytes, peer_mtu: int, peer_gso: int,
        peer_queue: int, peer_namespace: int,
    ) -> bytes:  # fmt: skip
        peer = attribute(
            _VETH_INFO_PEER, _link(peer_index), _device(peer_name, peer_mac, peer_mtu),
            _queueing(peer_gso, peer_queue), _ONE_QUEUE, uint32(IFLA_NET_NS_FD, peer_namespace),
        )  # fmt: skip
        info = text(IFLA_INFO_KIND, b"veth") + attribute(IFLA_INFO_DATA, peer)
        return message(
            RTM_NEWLINK, NEW, _link(index), _device(name, mac, mtu), _queueing(gso, queue),
            _ONE_QUEUE, uint32(IFLA_MASTER, master), attribute(IFLA_LINKINFO, info),
        )  # fmt: skip

    end = [integer("mtu"), integer("gso"), integer("queue")]
    peer = [integer("peer_mtu"), integer("peer_gso"), integer("peer_queue")]
    return Template(
        encode,
        [integer("index"), device_name("name"), mac("mac"), *end, integer("master"),
         integer("peer_index"), device_name("peer_name"), mac("peer_mac"), *peer,
         integer("peer_namespace")],
    )  # fmt: skip


@functools.cache
def ifb() -> Template:
    """An intermediate functional block."""

    def encode(index: int, name: bytes, mac: bytes, mtu: int, gso: int, queue: int) -> bytes:
        info = attribute(IFLA_LINKINFO, text(IFLA_INFO_KIND, b"ifb"))
        return message(
            RTM_NEWLINK, NEW, _link(index), _device(name, mac, mtu), _queueing(gso, queue), info
        )

    return Template(
        encode,
        [integer("index"), device_name("name"), mac("mac"), integer("mtu"), integer("gso"),
         integer("queue")],
    )  # fmt: skip


@functools.cache
def bridge() -> Template:
    """A bridge without any protocol of its own."""

    def encode(index: int, name: bytes, mac: bytes, mtu: int) -> bytes:
        # VLAN filtering is off by itself, and a kernel without it refuses to be told so.
        data = uint32(_BR_STP_STATE, 0) + uint8(_BR_MCAST_SNOOPING, 0)
        info = text(IFLA_INFO_KIND, b"bridge") + attribute(IFLA_INFO_DATA, data)
        described = _device(name, mac, mtu), attribute(IFLA_LINKINFO, info)
        return message(RTM_NEWLINK, NEW, _link(index), *described)

    return Template(encode, [integer("index"), device_name("name"), mac("mac"), integer("mtu")])


@functools.cache
def master() -> Template:
    """Make a device a port of a bridge."""

    def encode(index: int, bridge: int) -> bytes:
        return message(RTM_NEWLINK, CHANGE, _link(index), uint32(IFLA_MASTER, bridge))

    return Template(encode, [integer("index"), integer("bridge")])


@functools.cache
def port() -> Template:
    """What a bridge may do with a port."""

    def encode(index: int, **flags: int) -> bytes:
        data = b"".join(uint8(kind, flags[name]) for name, kind in _PORT_FLAGS.items())
        info = text(IFLA_INFO_SLAVE_KIND, b"bridge") + attribute(IFLA_INFO_SLAVE_DATA, data)
        return message(RTM_NEWLINK, CHANGE, _link(index), attribute(IFLA_LINKINFO, info))

    return Template(encode, [integer("index"), *(integer(name, "=B") for name in _PORT_FLAGS)])


@functools.cache
def up() -> Template:
    """Set a device up."""

    def encode(index: int) -> bytes:
        return message(RTM_SETLINK, CHANGE, _link(index, IFF_UP, IFF_UP))

    return Template(encode, [integer("index")])


@functools.cache
def get_link() -> Template:
    """Ask for a device.  Since Linux 6.8 it has settled when the kernel answers."""

    def encode(index: int) -> bytes:
        return message(
            RTM_GETLINK, CHANGE, _link(index), uint32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)
        )

    return Template(encode, [integer("index")])


# --- addresses and forwarding ----------------------------------------------------------------


@functools.cache
def ipv4_address() -> Template:
    """An address.  The kernel makes no route of it: routes are planned, with metrics."""

    def encode(index: int, prefix_len: int, local: bytes, address: bytes) -> bytes:
        return message(
            RTM_NEWADDR, NEW, _ADDRESS.pack(socket.AF_INET, prefix_len, 0, 0, index),
            attribute(_IFA_LOCAL, local), attribute(_IFA_ADDRESS, address),
            uint32(_IFA_FLAGS, IFA_F_NOPREFIXROUTE),
        )  # fmt: skip

    return Template(
        encode,
        [integer("index"), integer("prefix_len", "=B"), address("local"), address("address")],
    )


@functools.cache
def route() -> Template:
    """A unicast IPv4 route without a gateway, with a least retransmission timeout."""

    def encode(
        prefix_len: int, table: int, destination: bytes, device: int, source: bytes,
        rto_min_ms: int,
    ) -> bytes:  # fmt: skip
        fixed = _ROUTE.pack(
            socket.AF_INET, prefix_len, 0, 0, 0, RTPROT_STATIC, RT_SCOPE_LINK, RTN_UNICAST, 0
        )
        return message(
            RTM_NEWROUTE, NEW, fixed, uint32(_RTA_TABLE, table), attribute(_RTA_DST, destination),
            uint32(_RTA_OIF, device), attribute(_RTA_PREFSRC, source),
            attribute(_RTA_METRICS, uint32(_RTAX_RTO_MIN, rto_min_ms)),
        )  # fmt: skip

    return Template(
        encode,
        [integer("prefix_len", "=B"), integer("table"), address("destination"),
         integer("device"), address("source"), integer("rto_min_ms")],
    )  # fmt: skip


@functools.cache
def rule() -> Template:
    """A routing rule: packets from a source use a table (ip-rule(8))."""

    def encode(prefix_len: int, priority: int, source: bytes, table: int) -> bytes:
        fixed = _ROUTE.pack(socket.AF_INET, 0, prefix_len, 0, 0, 0, 0, FR_ACT_TO_TBL, 0)
        return message(
            RTM_NEWRULE, NEW, fixed, uint32(_FRA_PRIORITY, priority),
            attribute(_FRA_SRC, source), uint32(_FRA_TABLE, table),
        )  # fmt: skip

    return Template(
        encode,
        [integer("prefix_len", "=B"), integer("priority"), address("source"), integer("table")],
    )


@functools.cache
def neighbour() -> Template:
    """A permanent neighbour entry."""

    def encode(index: int, address: bytes, mac: bytes) -> bytes:
        fixed = _NEIGHBOUR.pack(socket.AF_INET, index, NUD_PERMANENT, 0, 0)
        return message(
            RTM_NEWNEIGH, NEW, fixed, attribute(_NDA_DST, address), attribute(_NDA_LLADDR, mac)
        )

    return Template(encode, [integer("index"), address("address"), mac("mac")])


@functools.cache
def fdb_entry() -> Template:
    """A static entry in the forwarding table of the bridge that a port belongs to."""

    def encode(index: int, mac: bytes) -> bytes:
        fixed = _NEIGHBOUR.pack(socket.AF_BRIDGE, index, NUD_NOARP, NTF_MASTER, 0)
        return message(RTM_NEWNEIGH, NEW, fixed, attribute(_NDA_LLADDR, mac))

    return Template(encode, [integer("index"), mac("mac")])
