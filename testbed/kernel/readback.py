"""Reading the kernel back as a plan, without a look at the plan that was asked for.

What no plan can express becomes an `Unknown` element, so that it shows as a difference: nothing that was
found is dropped silently, except what the kernel itself makes in every namespace (lo, its
addresses, the local table, the default rules).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from testbed.kernel import messages as m
from testbed.kernel.namespaces import inside
from testbed.kernel.netlink import Attributes, Netlink, attribute, parse
from testbed.plan.model import (
    Address,
    AnyElement,
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
    Sysctl,
    Unknown,
    Veth,
)
from testbed.plan.sysctls import MANAGED_SYSCTLS

_TABLE_LOCAL = 255
_TCA_DUMP_INVISIBLE = 10
_OWN_QDISCS = {"noqueue"}
_HOOK_NAMES = {hook: name for name, hook in m.HOOKS.items()}


class Device(NamedTuple):
    """A device as the kernel lists it."""

    namespace: str
    index: int
    name: str
    kind: str
    up: bool
    mtu: int
    mac: str
    txqueuelen: int
    gso_max_bytes: int
    peer: int
    master: int
    port: Attributes | None


def read(namespaces: Mapping[str, int]) -> Plan:
    """Everything in some network namespaces, as a plan.

    Args:
        namespaces: name -> descriptor.
    """
    elements: list[AnyElement] = []
    devices: list[Device] = []
    for name, fd in namespaces.items():
        elements.append(Namespace(name))
        elements += _sysctls(name, fd)
        netlink = Netlink(name, fd)
        try:
            reader = _Reader(netlink)
            devices += reader.devices
            elements += reader.elements()
        finally:
            netlink.close()
    elements += _devices(devices)
    return Plan(frozenset(elements))


def _sysctls(namespace: str, fd: int) -> list[AnyElement]:
    found: list[AnyElement] = []
    with inside(fd):
        for key, absent in MANAGED_SYSCTLS:
            try:
                value = " ".join((Path("/proc/sys") / key).read_text().split())
            except FileNotFoundError:
                value = absent if absent is not None else "absent"
            found.append(Sysctl(namespace, key, value))
    return found


def _mac(data: memoryview | None) -> str:
    return "" if data is None else bytes(data).hex(":")


def _ip(data: memoryview | None) -> str:
    return "" if data is None else socket.inet_ntoa(bytes(data))


def _devices(devices: list[Device]) -> list[AnyElement]:
    """Devices of all namespaces together: the two ends of a veth name each other by index."""
    by_ends: dict[tuple[int, int], list[Device]] = {}
    names = {(d.namespace, d.index): d.name for d in devices}
    for device in devices:
        if device.kind == "veth":
            by_ends.setdefault((device.index, device.peer), []).append(device)
    found: list[AnyElement] = []
    for d in devices:
        if d.kind == "bridge":
            found.append(Bridge(d.namespace, d.name, d.mac, d.mtu, d.up))
        elif d.kind == "ifb":
            found.append(
                Ifb(d.namespace, d.name, d.mac, d.mtu, d.gso_max_bytes, d.txqueuelen, d.up)
            )
        elif d.kind == "veth":
            peers = by_ends.get((d.peer, d.index), [])
            peer = peers[0] if len(peers) == 1 else None
            found.append(
                Veth(
                    d.namespace, d.name, peer.namespace if peer else "", peer.name if peer else "",
                    d.mac, d.mtu, d.gso_max_bytes, d.txqueuelen, d.up,
                )  # fmt: skip
            )
        else:
            found.append(Unknown(d.namespace, "link", d.name, f"a device of kind {d.kind!r}"))
        if d.master:
            found.append(_port(d, names.get((d.namespace, d.master), f"index {d.master}")))
    return found


def _port(device: Device, bridge: str) -> AnyElement:
    if device.port is None:
        return Unknown(device.namespace, "port", device.name, f"is a slave of {bridge}")

    def flag(number: int) -> bool:
        value = device.port.get(number) if device.port is not None else None
        return bool(value and value[0])

    return Port(
        device.namespace, device.name, bridge, flag(m.IFLA_BRPORT_LEARNING),
        flag(m.IFLA_BRPORT_UNICAST_FLOOD), flag(m.IFLA_BRPORT_MCAST_FLOOD),
        flag(m.IFLA_BRPORT_BCAST_FLOOD),
    )  # fmt: skip


class _Reader:
    """Reads one namespace."""

    def __init__(self, netlink: Netlink) -> None:
        self._netlink = netlink
        self._namespace = netlink.name
        self.devices = [d for d in map(self._device, self._links()) if d.name != "lo"]
        self._names = {d.index: d.name for d in self.devices}
        self._found: list[AnyElement] = []

    def _links(self) -> list[memoryview]:
        return self._netlink.dump(m.RTM_GETLINK, m.IFINFO.pack(0, 0, 0, 0, 0))

    def _device(self, body: memoryview) -> Device:
        _, _, index, flags, _ = m.IFINFO.unpack_from(body)
        attrs = parse(body[m.IFINFO.size :])
        info = attrs.nested(m.IFLA_LINKINFO)
        port = None
        if info.text(m.IFLA_INFO_SLAVE_KIND) == "bridge":
            port = info.nested(m.IFLA_INFO_SLAVE_DATA)
        return Device(
            self._namespace, index, attrs.text(m.IFLA_IFNAME), info.text(m.IFLA_INFO_KIND),
            bool(flags & m.IFF_UP), attrs.u32(m.IFLA_MTU), _mac(attrs.get(m.IFLA_ADDRESS)),
            attrs.u32(m.IFLA_TXQLEN), attrs.u32(m.IFLA_GSO_MAX_SIZE), attrs.u32(m.IFLA_LINK),
            attrs.u32(m.IFLA_MASTER), port,
        )  # fmt: skip

    def _unknown(self, kind: str, name: str, detail: str) -> None:
        self._found.append(Unknown(self._namespace, kind, name, detail))

    def elements(self) -> list[AnyElement]:
        """All elements but the devices."""
        self._addresses()
        self._routes()
        self._rules()
        self._neighbours()
        if any(d.kind == "bridge" for d in self.devices):
            self._forwarding()
        self._traffic_control()
        return self._found

    def _addresses(self) -> None:
        for body in self._netlink.dump(m.RTM_GETADDR, m.IFADDR.pack(0, 0, 0, 0, 0)):
            family, prefix, _, scope, index = m.IFADDR.unpack_from(body)
            if index not in self._names:
                continue  # lo
            attrs = parse(body[m.IFADDR.size :])
            name = self._names[index]
            if family != socket.AF_INET:
                self._unknown("address", name, f"an address of family {family}")
            elif scope != m.SCOPE_UNIVERSE or attrs.get(1) != attrs.get(2):
                self._unknown("address", name, f"{_ip(attrs.get(2))} with scope {scope} or a peer")
            else:
                self._found.append(Address(self._namespace, name, _ip(attrs.get(2)), prefix))

    def _routes(self) -> None:
        body = m.RTMSG.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
        for answer in self._netlink.dump(m.RTM_GETROUTE, body):
            _, length, _, tos, table, _, scope, kind, _ = m.RTMSG.unpack_from(answer)
            attrs = parse(answer[m.RTMSG.size :])
            table = attrs.u32(m.RTA_TABLE, table)
            if table == _TABLE_LOCAL:
                continue
            destination = f"{_ip(attrs.get(m.RTA_DST)) or '0.0.0.0'}/{length}"
            device = self._names.get(attrs.u32(m.RTA_OIF), "lo")
            if kind != m.TYPE_UNICAST or scope != m.SCOPE_LINK or m.RTA_GATEWAY in attrs or tos:
                self._unknown(
                    "route", f"{destination} table {table}", f"type {kind}, scope {scope}, {device}"
                )
                continue
            metrics = attrs.nested(m.RTA_METRICS)
            self._found.append(
                Route(
                    self._namespace, table, destination, device, _ip(attrs.get(m.RTA_PREFSRC)),
                    metrics.u32(m.RTAX_RTO_MIN),
                )  # fmt: skip
            )

    def _rules(self) -> None:
        body = m.RTMSG.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
        for answer in self._netlink.dump(m.RTM_GETRULE, body):
            _, to_length, length, _, table, _, _, action, flags = m.RTMSG.unpack_from(answer)
            attrs = parse(answer[m.RTMSG.size :])
            table = attrs.u32(m.FRA_TABLE, table)
            priority = attrs.u32(m.FRA_PRIORITY)
            if (priority, table) in ((0, 255), (32766, 254), (32767, 253)) and not length:
                continue  # the kernel's own
            source = f"{_ip(attrs.get(m.FRA_SRC)) or '0.0.0.0'}/{length}"
            if action != m.FR_ACT_TO_TBL or flags or to_length:
                self._unknown("rule", str(priority), f"action {action}, flags {flags}")
            else:
                self._found.append(Rule(self._namespace, priority, source, table))

    def _neighbours(self) -> None:
        body = m.NDMSG.pack(socket.AF_INET, 0, 0, 0, 0)
        for answer in self._netlink.dump(m.RTM_GETNEIGH, body):
            _, index, state, _, _ = m.NDMSG.unpack_from(answer)
            if index not in self._names or state == m.NUD_NOARP:
                continue
            attrs = parse(answer[m.NDMSG.size :])
            name, address = self._names[index], _ip(attrs.get(m.NDA_DST))
            if state == m.NUD_PERMANENT:
                mac = _mac(attrs.get(m.NDA_LLADDR))
                self._found.append(Neighbour(self._namespace, name, address, mac))
            else:
                self._unknown("neighbour", f"{name} {address}", f"state {state:#x}, not permanent")

    def _forwarding(self) -> None:
        own = {(d.index, d.mac) for d in self.devices}
        for answer in self._netlink.dump(m.RTM_GETNEIGH, m.NDMSG.pack(socket.AF_BRIDGE, 0, 0, 0, 0)):
            _, index, state, flags, _ = m.NDMSG.unpack_from(answer)
            attrs = parse(answer[m.NDMSG.size :])
            mac = _mac(attrs.get(m.NDA_LLADDR))
            if m.NDA_MASTER not in attrs or (state == m.NUD_PERMANENT and (index, mac) in own):
                continue  # a multicast filter of the device, or its own address
            name = self._names.get(index, f"index {index}")
            if state == m.NUD_NOARP:
                self._found.append(FdbEntry(self._namespace, name, mac))
            else:
                self._unknown("fdb", f"{name} {mac}", f"state {state:#x}, flags {flags:#x}")

    # --- traffic control -------------------------------------------------------------------

    def _traffic_control(self) -> None:
        limits: dict[tuple[int, int], int] = {}
        shaped: dict[int, int] = {}
        hooked: list[int] = []
        body = m.TCMSG.pack(0, 0, 0, 0, 0) + attribute(_TCA_DUMP_INVISIBLE, b"")
        for answer in self._netlink.dump(m.RTM_GETQDISC, body):
            _, index, handle, parent, _ = m.TCMSG.unpack_from(answer)
            if index not in self._names:
                continue  # lo
            attrs = parse(answer[m.TCMSG.size :])
            kind, name = attrs.text(m.TCA_KIND), self._names[index]
            if kind == "htb" and parent == m.TC_ROOT:
                shaped[index] = handle >> 16
                self._found.append(self._shaper(name, handle, attrs))
            elif kind == "pfifo" and parent != m.TC_ROOT and handle == 0:
                limits[index, parent] = attrs.u32(m.TCA_OPTIONS)
            elif kind == "clsact":
                hooked.append(index)
            elif not (kind in _OWN_QDISCS and parent == m.TC_ROOT):
                self._unknown("qdisc", f"{name} {kind} {handle:x}:", f"parent {parent:#x}")
        for index in shaped:
            self._classes(index, limits)
        for index in hooked:
            self._redirects(index)

    def _shaper(self, name: str, handle: int, attrs: Attributes) -> Shaper:
        options = attrs.nested(m.TCA_OPTIONS)
        _, _, default, _, _ = m.HTB_GLOBAL.unpack_from(options[m.TCA_HTB_INIT])
        return Shaper(
            self._namespace, name, handle >> 16, default, options.u32(m.TCA_HTB_DIRECT_QLEN)
        )

    def _classes(self, index: int, limits: dict[tuple[int, int], int]) -> None:
        name = self._names[index]
        parents = {0}
        for answer in self._netlink.dump(m.RTM_GETTCLASS, m.TCMSG.pack(0, index, 0, 0, 0)):
            _, _, handle, parent, _ = m.TCMSG.unpack_from(answer)
            attrs = parse(answer[m.TCMSG.size :])
            if attrs.text(m.TCA_KIND) != "htb":
                self._unknown("class", f"{name} {handle:x}", attrs.text(m.TCA_KIND))
                continue
            contract = _htb_class(bytes(attrs[m.TCA_OPTIONS]))
            above = 0 if parent == m.TC_ROOT else parent & 0xFFFF
            parents.add(above)
            self._found.append(
                ShaperClass(
                    self._namespace, name, handle & 0xFFFF, above, *contract,
                    limits.get((index, handle), 0),
                )  # fmt: skip
            )
            parents.add(handle & 0xFFFF)
        for parent in parents:
            self._filters(index, parent)

    def _filters(self, index: int, parent: int) -> None:
        name = self._names[index]
        at = 0 if parent == 0 else 0x10000 | parent
        for answer in self._netlink.dump(m.RTM_GETTFILTER, m.TCMSG.pack(0, index, 0, at, 0)):
            _, _, handle, _, info = m.TCMSG.unpack_from(answer)
            attrs = parse(answer[m.TCMSG.size :])
            kind = attrs.text(m.TCA_KIND)
            if kind == "u32" and handle & 0xFFF == 0:
                continue  # the filter's hash table
            match = _u32(bytes(attrs.get(m.TCA_OPTIONS, b""))) if kind == "u32" else None
            protocol = socket.ntohs(info & 0xFFFF)
            if match is None or match.target is not None or protocol != 0x0800:
                self._unknown(
                    "filter", f"{name} {parent:x} {info >> 16} {handle:x}", f"{kind} {protocol:#x}"
                )
                continue
            self._found.append(
                Filter(
                    self._namespace, name, parent, info >> 16, handle & 0xFFF, match.tos,
                    match.tos_mask, match.source, match.source_mask, match.classid,
                )  # fmt: skip
            )

    def _redirects(self, index: int) -> None:
        name = self._names[index]
        for hook, direction in _HOOK_NAMES.items():
            seen = 0
            dump = self._netlink.dump(m.RTM_GETTFILTER, m.TCMSG.pack(0, index, 0, hook, 0))
            for answer in dump:
                _, _, handle, _, info = m.TCMSG.unpack_from(answer)
                attrs = parse(answer[m.TCMSG.size :])
                kind = attrs.text(m.TCA_KIND)
                if kind == "u32" and handle & 0xFFF == 0:
                    continue
                match = _u32(bytes(attrs.get(m.TCA_OPTIONS, b""))) if kind == "u32" else None
                everything = match is not None and not (match.tos_mask or match.source_mask)
                seen += 1
                if (
                    match is None or match.target is None or not everything or seen > 1
                    or socket.ntohs(info & 0xFFFF) != 0x0003
                ):  # fmt: skip
                    self._unknown("filter", f"{name} {direction} {handle:x}", kind)
                    continue
                target = self._names.get(match.target, f"index {match.target}")
                self._found.append(
                    Redirect(self._namespace, name, direction, target)  # type: ignore[arg-type]
                )


@lru_cache(maxsize=8192)
def _htb_class(options: bytes) -> tuple[int, int, int, int, int, int]:
    """rate, ceil (bit/s), burst, ceil burst (ticks), quantum, priority of a class."""
    attrs = parse(memoryview(options))
    rate, ceil, burst, ceil_burst, quantum, _, priority = m.HTB_CLASS.unpack_from(
        attrs[m.TCA_HTB_PARMS]
    )
    rates = []
    for spec, wide in ((rate, m.TCA_HTB_RATE64), (ceil, m.TCA_HTB_CEIL64)):
        value = m.RATESPEC.unpack(spec)[5]
        if wide in attrs:
            (value,) = struct.unpack_from("=Q", attrs[wide])
        rates.append(value * 8)
    return rates[0], rates[1], burst, ceil_burst, quantum, priority


class _Match(NamedTuple):
    tos: int
    tos_mask: int
    source: int
    source_mask: int
    classid: int
    target: int | None  # of a redirection


@lru_cache(maxsize=8192)
def _u32(options: bytes) -> _Match | None:
    """What a u32 filter matches and does; None if it is not one that a plan could ask for."""
    attrs = parse(memoryview(options))
    selector = attrs.get(m.TCA_U32_SEL)
    if selector is None:
        return None
    flags, shift, count, offmask, off, offoff, hoff, hmask = m.U32_SELECTOR.unpack_from(selector)
    if shift or offmask or off or offoff or hoff or hmask or not flags & 1:
        return None
    tos = tos_mask = source = source_mask = 0
    for number in range(count):
        at = m.U32_SELECTOR.size + 16 * number
        mask, value = struct.unpack_from(">II", selector, at)
        offset, offset_mask = struct.unpack_from("=ii", selector, at + 8)
        if offset_mask:
            return None
        if mask == 0:
            continue
        if offset == 0 and mask & ~0x00FF0000 == 0 and not tos_mask:
            tos, tos_mask = value >> 16, mask >> 16
        elif offset == 12 and not source_mask:
            source, source_mask = value, mask
        else:
            return None
    target = None
    if m.TCA_U32_ACT in attrs:
        actions = attrs.nested(m.TCA_U32_ACT)
        target = _redirect_target(actions)
        if target is None:
            return None
    classid = attrs.u32(m.TCA_U32_CLASSID) & 0xFFFF
    return _Match(tos, tos_mask, source, source_mask, classid, target)


def _redirect_target(actions: Attributes) -> int | None:
    """The device that the one action of a filter redirects to; None if it does anything else."""
    if set(actions) != {1}:
        return None
    action = actions.nested(1)
    options = action.nested(m.TCA_ACT_OPTIONS)
    if action.text(m.TCA_ACT_KIND) != "mirred" or m.TCA_MIRRED_PARMS not in options:
        return None
    _, _, verdict, _, _, how, target = m.MIRRED.unpack_from(options[m.TCA_MIRRED_PARMS])
    if verdict != m.TC_ACT_STOLEN or how != m.EGRESS_REDIRECT:
        return None
    return int(target)
