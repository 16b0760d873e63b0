"""The plan: every kernel object of an emulated cluster, as frozen data.

A plan is made without a kernel (`testbed.plan.compile`), applied by `testbed.kernel.apply`
and read back by `testbed.kernel.readback` into a plan of its own; verifying is comparing the
two.  Each element therefore holds exactly what the kernel can be asked for *and* can be asked
about: quantities are in the kernel's own units where a conversion would round.

Elements compare by value.  `key(element)` names the object, so that a difference can say
which one it is, and which field of it.
"""

from __future__ import annotations

import functools
import pickle
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Literal, TypeAlias

import msgspec

PSCHED_TICK_NS = 64  # the tc clock of the kernel: one tick is 64 ns (net/pkt_sched.h)


@functools.cache
def burst_ticks(size_bytes: int, rate_bps: int) -> int:
    """The time, in tc clock ticks, that `size_bytes` takes at `rate_bps`: tc's form of a burst."""
    return max(1, round(size_bytes * 8e9 / rate_bps / PSCHED_TICK_NS))


def burst_bytes(ticks: int, rate_bps: int) -> int:
    """The inverse of `burst_ticks`, for people."""
    return round(ticks * PSCHED_TICK_NS * rate_bps / 8e9)


class Element(msgspec.Struct, frozen=True):
    """One kernel object."""


class Namespace(Element, frozen=True, tag="namespace"):
    """A network namespace.  `host` is the machine that it belongs to (one, for now)."""

    name: str
    host: str = "local"


class Bridge(Element, frozen=True, tag="bridge"):
    """A bridge: no STP, no VLAN filtering, no multicast snooping, never ages what it knows."""

    namespace: str
    device: str
    mac: str
    mtu: int
    up: bool = True


class Veth(Element, frozen=True, tag="veth"):
    """One end of a veth pair.  Both ends are elements; each names the other."""

    namespace: str
    device: str
    peer_namespace: str
    peer_device: str
    mac: str
    mtu: int
    gso_max_bytes: int
    txqueuelen: int
    up: bool = True


class Ifb(Element, frozen=True, tag="ifb"):
    """An intermediate functional block: the device that carries a shaper shared by two ports."""

    namespace: str
    device: str
    mac: str
    mtu: int
    gso_max_bytes: int
    txqueuelen: int
    up: bool = True


class Port(Element, frozen=True, tag="port"):
    """A device that is a port of a bridge, and what the bridge may do with it."""

    namespace: str
    device: str
    bridge: str
    learning: bool
    flood: bool  # unknown unicast
    multicast_flood: bool
    broadcast_flood: bool


class Address(Element, frozen=True, tag="address"):
    """An IPv4 address of a device."""

    namespace: str
    device: str
    address: str
    prefix_len: int


class Route(Element, frozen=True, tag="route"):
    """A unicast IPv4 route, link scope (there are no gateways inside the cluster)."""

    namespace: str
    table: int  # 254 is main
    destination: str  # "10.64.0.0/16"
    device: str
    source: str  # preferred source address
    rto_min_ms: int


class Rule(Element, frozen=True, tag="rule"):
    """Packets from `source` are routed by `table`."""

    namespace: str
    priority: int
    source: str  # "10.64.0.1/32"
    table: int


class Neighbour(Element, frozen=True, tag="neighbour"):
    """A permanent neighbour entry: no ARP is ever sent inside the cluster.

    Plans hold these by the device (`Neighbours`); one alone is named by differences and errors.
    """

    namespace: str
    device: str
    address: str
    mac: str


class Neighbours(Element, frozen=True, tag="neighbours"):
    """All permanent neighbour entries of a device.

    Everybody knows everybody, so that these are most of what a large cluster holds: they are one
    element a device.
    """

    namespace: str
    device: str
    entries: frozenset[tuple[str, str]]  # (address, MAC)

    def each(self) -> list[Neighbour]:
        """The entries as objects of the kernel, in order."""
        return [Neighbour(self.namespace, self.device, *entry) for entry in sorted(self.entries)]


class FdbEntry(Element, frozen=True, tag="fdb"):
    """A static forwarding entry: frames to `mac` leave by `device`."""

    namespace: str
    device: str  # the bridge port
    mac: str


class Sysctl(Element, frozen=True, tag="sysctl"):
    """A kernel parameter of a namespace."""

    namespace: str
    key: str  # slashes: "net/ipv4/tcp_rmem"
    value: str  # single spaces


class Shaper(Element, frozen=True, tag="shaper"):
    """An HTB qdisc at the root of a device."""

    namespace: str
    device: str
    handle: int  # major number, e.g. 1
    default_class: int  # minor number; always a leaf
    direct_queue_packets: int


class ShaperClass(Element, frozen=True, tag="class"):
    """An HTB class.  A leaf also has a packet FIFO of `queue_packets`; an inner class has 0."""

    namespace: str
    device: str
    classid: int  # minor number
    parent: int  # minor number of the parent, 0 for the qdisc itself
    rate_bps: int
    ceil_bps: int
    burst_ticks: int  # at rate_bps, see `burst_ticks`
    ceil_burst_ticks: int  # at ceil_bps
    quantum_bytes: int
    priority: int
    queue_packets: int


class Filter(Element, frozen=True, tag="filter"):
    """A u32 filter of a shaper: packets that match go to a class.

    `parent` is the minor number of the class whose chain it is in, 0 for the qdisc's own.
    Each match is on the IPv4 header; a mask of 0 matches everything.
    """

    namespace: str
    device: str
    parent: int
    priority: int
    handle: int  # u32 node id, 1..0xffe
    tos: int
    tos_mask: int
    source: int  # IPv4 address as an integer
    source_mask: int
    classid: int


class Redirect(Element, frozen=True, tag="redirect"):
    """Everything that enters (or leaves) `device` goes through `target` first (clsact, mirred)."""

    namespace: str
    device: str
    direction: Literal["ingress", "egress"]
    target: str


class Unknown(Element, frozen=True, tag="unknown"):
    """Something found in the kernel that no plan can ask for: always a difference."""

    namespace: str
    kind: str
    name: str
    detail: str


AnyElement: TypeAlias = (
    Namespace
    | Bridge
    | Veth
    | Ifb
    | Port
    | Address
    | Route
    | Rule
    | Neighbour
    | Neighbours
    | FdbEntry
    | Sysctl
    | Shaper
    | ShaperClass
    | Filter
    | Redirect
    | Unknown
)

# The fields that name an element of each kind; the others are what can differ.
KEYS: dict[type, tuple[str, ...]] = {
    Namespace: ("name",),
    Bridge: ("namespace", "device"),
    Veth: ("namespace", "device"),
    Ifb: ("namespace", "device"),
    Port: ("namespace", "device"),
    Address: ("namespace", "device", "address"),
    Route: ("namespace", "table", "destination"),
    Rule: ("namespace", "priority"),
    Neighbour: ("namespace", "device", "address"),
    Neighbours: ("namespace", "device"),
    FdbEntry: ("namespace", "device", "mac"),
    Sysctl: ("namespace", "key"),
    Shaper: ("namespace", "device"),
    ShaperClass: ("namespace", "device", "classid"),
    Filter: ("namespace", "device", "parent", "priority", "handle"),
    Redirect: ("namespace", "device", "direction"),
    Unknown: ("namespace", "kind", "name"),
}


def key(element: AnyElement) -> tuple[object, ...]:
    """The kind and the name of a kernel object, e.g. ("class", "fabric", "pe0c0-read", 16)."""
    cls = type(element)
    tag = cls.__struct_config__.tag
    return (tag, *(getattr(element, field) for field in KEYS[cls]))


# --- what the objects stand for -------------------------------------------------------------

DomainKind = Literal["dram", "hbm", "host"]
NicKind = Literal["snic", "cnic", "nvlink", "pcie", "mgmt", "link"]
LinkKind = Literal["snic", "cnic-dram", "cnic-hbm", "cnic-wire", "nvlink", "pcie", "mgmt", "link"]
Direction = Literal["in", "out", "read", "write"]


class Domain(msgspec.Struct, frozen=True):
    """A memory domain (or a plain host): a namespace in which programs run."""

    name: str
    kind: DomainKind
    node: str  # the node it belongs to; a plain host is its own node
    role: str  # "prefill", "decode", "storage", "control" or "host"
    addresses: dict[str, str]  # device -> IPv4 address


class Meter(msgspec.Struct, frozen=True):
    """One direction of one NIC, and the shaper in the kernel that carries all of it.

    For a CNIC `direction` is "read" (NIC reads memory) or "write" (NIC writes memory); for
    every other NIC it is "out" or "in", seen from the domain that it is named after.
    """

    nic: str  # "pe0/snic0", "pe0/cnic3", "h1/h1-eth0"
    kind: NicKind
    node: str
    role: str
    direction: Direction
    namespace: str
    device: str
    rate_bps: int
    burst_bytes: int
    lanes: dict[str, int]  # name -> classid; always "kv" and "unclassified", the default leaf
    leaves: dict[str, tuple[str, ...]] = {}  # leaf classid in hex -> domains that share it


class Link(msgspec.Struct, frozen=True):
    """A link of the topology, for people: `testbed inspect` and the report draw these."""

    a: str
    b: str
    kind: LinkKind
    rate_bps: int | None


class Plan(msgspec.Struct, frozen=True):
    """A cluster: its kernel objects, and what they stand for.

    `elements` is what is applied, read back and compared.  The rest is derived from the same
    topology; readback leaves it empty.
    """

    elements: frozenset[AnyElement]
    topology: str = ""
    domains: dict[str, Domain] = {}
    meters: tuple[Meter, ...] = ()
    links: tuple[Link, ...] = ()
    parameters: dict[str, str | int | float | bool] = {}


def objects(elements: Iterable[AnyElement]) -> Iterator[AnyElement]:
    """Elements as the kernel's objects: neighbours one by one."""
    for element in elements:
        if isinstance(element, Neighbours):
            yield from element.each()
        else:
            yield element


def counts(plan: Plan) -> Counter[str]:
    """How many kernel objects of each kind a plan has."""
    counted = Counter(str(type(e).__struct_config__.tag) for e in plan.elements)
    if counted.pop("neighbours", 0):
        counted["neighbour"] = sum(
            len(e.entries) for e in plan.elements if isinstance(e, Neighbours)
        )
    return counted


def encode(plan: Plan) -> bytes:
    """A plan as JSON for `decode`; the elements are in no order."""
    return msgspec.json.encode(plan)


def encode_in_order(plan: Plan) -> bytes:
    """A plan as JSON for people and their programs: objects one by one, in a stable order."""
    body = {
        "topology": plan.topology,
        "parameters": plan.parameters,
        "domains": plan.domains,
        "links": plan.links,
        "meters": plan.meters,
        "elements": sorted(objects(plan.elements), key=lambda e: tuple(map(str, key(e)))),
    }
    return msgspec.json.encode(body)


def decode(data: bytes) -> Plan:
    """The inverse of `encode`."""
    return msgspec.json.decode(data, type=Plan)


def pack(plan: Plan) -> bytes:
    """A plan for `unpack`, in another process of the same program that trusts this one.

    Several times faster than `encode` and `decode`: what is there more than once is once in it.
    """
    return pickle.dumps(plan, pickle.HIGHEST_PROTOCOL)


def unpack(data: bytes) -> Plan:
    """The inverse of `pack`."""
    plan: Plan = pickle.loads(data)
    return plan
