"""A plan as input for `ip`, `bridge` and `tc -batch`, the usual tools of the trade.

The kernel objects are the same, as far as these tools make them: sysctls and the domains' other
namespaces are left out, which makes the tools look faster, not slower.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeVar

from testbed.plan.model import (
    Address,
    Bridge,
    FdbEntry,
    Filter,
    Ifb,
    Namespace,
    Neighbour,
    Plan,
    Port,
    Redirect,
    Route,
    Rule,
    Shaper,
    ShaperClass,
    Veth,
    burst_bytes,
    objects,
)

T = TypeVar("T")
_SOURCE_OFFSET = 12  # of the source address in the IPv4 header


class Batch(NamedTuple):
    """Input for one start of a tool.

    Args:
        tool: "ip", "bridge" or "tc".
        namespace: where it runs, for `-netns`; "" where it was started.
        lines: its commands.
    """

    tool: str
    namespace: str
    lines: list[str]


def batches(plan: Plan) -> Iterator[Batch]:
    """Everything that makes a plan, in order."""
    everything = list(objects(plan.elements))
    names = [each.name for each in _of(everything, Namespace)]
    yield Batch("ip", "", [f"netns add {name}" for name in names])
    devices, shaping, addressing = (_by_namespace() for _ in range(3))
    for bridge in _of(everything, Bridge):
        devices[bridge.namespace].append(
            f"link add {bridge.device} address {bridge.mac} mtu {bridge.mtu} type bridge"
            " mcast_snooping 0 ageing_time 0"
        )
    for ifb in _of(everything, Ifb):
        devices[ifb.namespace].append(f"link add {_device(ifb)} type ifb")
    _veths(_of(everything, Veth), devices)
    for port in _of(everything, Port):
        devices[port.namespace] += [
            f"link set dev {port.device} master {port.bridge}",
            f"link set dev {port.device} type bridge_slave learning {_on(port.learning)}"
            f" flood {_on(port.flood)} mcast_flood {_on(port.multicast_flood)}"
            f" bcast_flood {_on(port.broadcast_flood)}",
        ]
    _shapers(everything, shaping)
    _addresses(everything, addressing)
    for tool, lines in (("ip", devices), ("tc", shaping), ("ip", addressing)):
        for namespace, made in lines.items():
            yield Batch(tool, namespace, made)
    forwarding = _by_namespace()
    for entry in _of(everything, FdbEntry):
        forwarding[entry.namespace].append(f"fdb add {entry.mac} dev {entry.device} master static")
    for namespace, made in forwarding.items():
        yield Batch("bridge", namespace, made)


def _by_namespace() -> dict[str, list[str]]:
    return defaultdict(list)


def _of(everything: Iterable[object], kind: type[T]) -> list[T]:
    return [each for each in everything if isinstance(each, kind)]


def _on(flag: bool) -> str:
    return "on" if flag else "off"


def _device(device: Veth | Ifb) -> str:
    return (
        f"name {device.device} address {device.mac} mtu {device.mtu}"
        f" txqueuelen {device.txqueuelen} gso_max_size {device.gso_max_bytes}"
    )


def _veths(veths: list[Veth], devices: dict[str, list[str]]) -> None:
    ends = {(veth.namespace, veth.device): veth for veth in veths}
    for place, near in ends.items():
        far = ends[near.peer_namespace, near.peer_device]
        if place < (far.namespace, far.device):
            devices[near.namespace].append(
                f"link add {_device(near)} type veth peer {_device(far)} netns {far.namespace}"
            )


def _shapers(everything: Iterable[object], shaping: dict[str, list[str]]) -> None:
    for shaper in _of(everything, Shaper):
        shaping[shaper.namespace].append(
            f"qdisc add dev {shaper.device} root handle {shaper.handle:x}: htb"
            f" default {shaper.default_class:x} direct_qlen {shaper.direct_queue_packets}"
        )
    for each in sorted(_of(everything, ShaperClass), key=lambda c: (c.parent, c.classid)):
        shaping[each.namespace].append(
            f"class add dev {each.device} parent 1:{each.parent:x} classid 1:{each.classid:x} htb"
            f" rate {each.rate_bps}bit ceil {each.ceil_bps}bit"
            f" burst {burst_bytes(each.burst_ticks, each.rate_bps)}b"
            f" cburst {burst_bytes(each.ceil_burst_ticks, each.ceil_bps)}b"
            f" quantum {each.quantum_bytes} prio {each.priority}"
        )
    for chosen in sorted(_of(everything, Filter), key=lambda f: (f.parent, f.priority, f.handle)):
        shaping[chosen.namespace].append(
            f"filter add dev {chosen.device} parent 1:{chosen.parent:x} protocol ip"
            f" prio {chosen.priority} u32 {_match(chosen)} flowid 1:{chosen.classid:x}"
        )
    hooked = set()
    for redirect in _of(everything, Redirect):
        if (redirect.namespace, redirect.device) not in hooked:
            hooked.add((redirect.namespace, redirect.device))
            shaping[redirect.namespace].append(f"qdisc add dev {redirect.device} clsact")
        shaping[redirect.namespace].append(
            f"filter add dev {redirect.device} {redirect.direction} protocol all prio 1"
            f" u32 match u32 0 0 action mirred egress redirect dev {redirect.target}"
        )


def _match(chosen: Filter) -> str:
    keys = []
    if chosen.tos_mask:
        keys.append(f"match ip dsfield {chosen.tos:#x} {chosen.tos_mask:#x}")
    if chosen.source_mask:
        keys.append(f"match u32 {chosen.source:#x} {chosen.source_mask:#x} at {_SOURCE_OFFSET}")
    return " ".join(keys) or "match u32 0 0"


def _addresses(everything: Iterable[object], addressing: dict[str, list[str]]) -> None:
    devices: list[Bridge | Ifb | Veth] = []
    devices += [*_of(everything, Bridge), *_of(everything, Ifb), *_of(everything, Veth)]
    for device in devices:
        addressing[device.namespace].append(f"link set dev {device.device} up")
    for address in _of(everything, Address):
        addressing[address.namespace].append(
            f"address add {address.address}/{address.prefix_len} dev {address.device} noprefixroute"
        )
    for route in _of(everything, Route):
        addressing[route.namespace].append(
            f"route add {route.destination} dev {route.device} table {route.table} scope link"
            f" src {route.source} proto static rto_min {route.rto_min_ms}ms"
        )
    for rule in _of(everything, Rule):
        addressing[rule.namespace].append(
            f"rule add priority {rule.priority} from {rule.source} table {rule.table}"
        )
    for each in _of(everything, Neighbour):
        addressing[each.namespace].append(
            f"neighbour add {each.address} lladdr {each.mac} dev {each.device} nud permanent"
        )
