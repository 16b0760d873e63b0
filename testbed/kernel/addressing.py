"""Addresses, routes and rules, read back.

What the kernel makes by itself in every namespace is left out: the addresses of the loopback,
the local table, the three default rules.  What is missing of that is reported.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping

from testbed.kernel.attributes import Names, attributes, text, uint32
from testbed.kernel.encoding import RTM_GETADDR, RTM_GETROUTE, RTM_GETRULE, question
from testbed.kernel.messages import (
    IFA_F_NOPREFIXROUTE,
    RT_SCOPE_LINK,
    RTN_UNICAST,
    RTPROT_STATIC,
)
from testbed.kernel.netlink import HEADER, RouteSocket
from testbed.plan.model import Address, AnyElement, Route, Rule, Unknown

_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg
_ROUTE = struct.Struct("=BBBBBBBBI")  # struct rtmsg, struct fib_rule_hdr
_IFA_ADDRESS, _IFA_LOCAL, _IFA_LABEL, _IFA_BROADCAST, _IFA_FLAGS = 1, 2, 3, 4, 8
_IFA_F_PERMANENT = 0x80
_RTA_DST, _RTA_OIF, _RTA_PRIORITY, _RTA_PREFSRC, _RTA_METRICS, _RTA_TABLE = 1, 4, 6, 7, 8, 15
_ROUTE_ATTRIBUTES = {_RTA_DST, _RTA_OIF, _RTA_PREFSRC, _RTA_METRICS, _RTA_TABLE}
_RTAX_RTO_MIN = 13
_TABLE_LOCAL, _RTPROT_KERNEL = 255, 2
_RTM_F_IGNORED = 0x10 | 0x40  # dead and linkdown follow the device, which is read itself
_FRA_SRC, _FRA_PRIORITY, _FRA_SUPPRESS_PREFIXLEN, _FRA_TABLE = 2, 6, 14, 15
_FRA_PROTOCOL = 21
_RULE_ATTRIBUTES = {_FRA_SRC, _FRA_PRIORITY, _FRA_TABLE, _FRA_PROTOCOL, _FRA_SUPPRESS_PREFIXLEN}
_FR_ACT_TO_TBL = 1
_DEFAULT_RULES = {
    socket.AF_INET: {(0, 255), (32766, 254), (32767, 253)},  # priority, table
    socket.AF_INET6: {(0, 255), (32766, 254)},
}
_FAMILIES = {socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6"}


def address_elements(
    namespace: str, route_socket: RouteSocket, devices: Mapping[int, str], names: Names
) -> list[AnyElement]:
    """Every address, IPv6 too.

    Args:
        namespace: the socket's.
        route_socket: where to ask.
        devices: index -> name.
        names: shared with other readers.
    """
    elements: list[AnyElement] = []
    request = question(RTM_GETADDR, _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0))
    for message in route_socket.dump(request):
        family, prefix_len, flags, scope, index = _ADDRESS.unpack_from(message, HEADER.size)
        found = attributes(message, HEADER.size + _ADDRESS.size)
        device = devices.get(index, f"index {index}")
        local = found.get(_IFA_LOCAL, found.get(_IFA_ADDRESS, b""))
        shown = names.ip[local] if local else "none"
        if device == "lo" and shown == "127.0.0.1" and prefix_len == 8:
            continue
        if family != socket.AF_INET:
            elements.append(
                Unknown(namespace, "address", f"{shown} of {device}", _FAMILIES.get(family, "?"))
            )
            continue
        elements.append(Address(namespace, device, shown, prefix_len))
        odd = []
        if found.get(_IFA_ADDRESS) != local:
            odd.append("point to point")
        if scope:
            odd.append(f"scope {scope}")
        if text(found.get(_IFA_LABEL)) != device:
            odd.append(f"label {text(found.get(_IFA_LABEL))}")
        if _IFA_BROADCAST in found:
            odd.append(f"broadcast {names.ip[found[_IFA_BROADCAST]]}")
        flags = uint32(found.get(_IFA_FLAGS)) or flags
        if flags != _IFA_F_PERMANENT | IFA_F_NOPREFIXROUTE:
            odd.append(f"flags {flags:#x}")
        if odd:
            name = f"{shown} of {device}"
            elements.append(Unknown(namespace, "address", name, ", ".join(odd)))
    return elements


def route_elements(
    namespace: str, route_socket: RouteSocket, devices: Mapping[int, str], names: Names
) -> list[AnyElement]:
    """Every route of every table but the kernel's own in the local one; arguments as above."""
    elements: list[AnyElement] = []
    for family in _FAMILIES:
        request = _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
        for message in _route_dump(route_socket, request):
            elements += _route(namespace, message, devices, names)
    return elements


def _route_dump(route_socket: RouteSocket, request: bytes) -> list[bytes]:
    try:
        return route_socket.dump(question(RTM_GETROUTE, request))
    except OSError:
        if request[0] == socket.AF_INET:
            raise
        return []  # a kernel without IPv6


def _route(
    namespace: str, message: bytes, devices: Mapping[int, str], names: Names
) -> list[AnyElement]:
    family, length, source_len, tos, table, protocol, scope, kind, flags = _ROUTE.unpack_from(
        message, HEADER.size
    )
    found = attributes(message, HEADER.size + _ROUTE.size)
    table = uint32(found.get(_RTA_TABLE)) or table
    if table == _TABLE_LOCAL and protocol == _RTPROT_KERNEL:
        return []
    index = uint32(found.get(_RTA_OIF)) or 0
    device = devices.get(index, f"index {index}")
    blank = bytes(4 if family == socket.AF_INET else 16)
    destination = f"{names.ip[found.get(_RTA_DST, blank)]}/{length}"
    if family != socket.AF_INET:
        if table == _TABLE_LOCAL or (device == "lo" and protocol == _RTPROT_KERNEL):
            return []
        name = f"{destination} by {device} in table {table}"
        return [Unknown(namespace, "route", name, _FAMILIES[family])]
    metrics = attributes(found.get(_RTA_METRICS, b""))
    odd = []
    if kind != RTN_UNICAST:
        odd.append(f"type {kind}")
    if scope != RT_SCOPE_LINK:
        odd.append(f"scope {scope}")
    if protocol != RTPROT_STATIC:
        odd.append(f"protocol {protocol}")
    if tos or source_len or flags & ~_RTM_F_IGNORED:
        odd.append(f"tos {tos}, source length {source_len}, flags {flags:#x}")
    if _RTA_PRIORITY in found:
        odd.append(f"metric {uint32(found[_RTA_PRIORITY])}")
    odd += [f"attribute {n}" for n in sorted(found.keys() - _ROUTE_ATTRIBUTES - {_RTA_PRIORITY})]
    odd += [f"metrics attribute {n}" for n in sorted(metrics.keys() - {_RTAX_RTO_MIN})]
    source = names.ip[found[_RTA_PREFSRC]] if _RTA_PREFSRC in found else ""
    rto_min_ms = uint32(metrics.get(_RTAX_RTO_MIN)) or 0
    elements: list[AnyElement] = [Route(namespace, table, destination, device, source, rto_min_ms)]
    if odd:
        name = f"{destination} by {device} in table {table}"
        elements.append(Unknown(namespace, "route", name, ", ".join(odd)))
    return elements


def rule_elements(namespace: str, route_socket: RouteSocket, names: Names) -> list[AnyElement]:
    """Every routing rule but the default ones; a default one that is gone."""
    elements: list[AnyElement] = []
    for family, defaults in _DEFAULT_RULES.items():
        missing = set(defaults)
        request = question(RTM_GETRULE, _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0))
        try:
            answers = route_socket.dump(request)
        except OSError:
            if family == socket.AF_INET:
                raise
            continue  # a kernel without IPv6
        for message in answers:
            element, default = _rule(namespace, family, message, names)
            if default in missing:
                missing.discard(default)
            else:
                elements += element
        elements += [
            Unknown(namespace, "rule", f"{_FAMILIES[family]} {priority}", "the default is gone")
            for priority, _ in sorted(missing)
        ]
    return elements


def _rule(
    namespace: str, family: int, message: bytes, names: Names
) -> tuple[list[AnyElement], tuple[int, int] | None]:
    """The rule as elements, and (priority, table) if it selects everything as a default does."""
    _, to_len, source_len, tos, table, _, _, action, flags = _ROUTE.unpack_from(
        message, HEADER.size
    )
    found = attributes(message, HEADER.size + _ROUTE.size)
    table = uint32(found.get(_FRA_TABLE)) or table
    priority = uint32(found.get(_FRA_PRIORITY)) or 0
    odd = [f"attribute {n}" for n in sorted(found.keys() - _RULE_ATTRIBUTES)]
    if action != _FR_ACT_TO_TBL:
        odd.append(f"action {action}")
    if to_len or tos or flags:
        odd.append(f"destination length {to_len}, tos {tos}, flags {flags:#x}")
    if uint32(found.get(_FRA_SUPPRESS_PREFIXLEN)) not in (None, 0xFFFFFFFF):
        odd.append("suppresses prefixes")
    if family != socket.AF_INET:
        name = f"IPv6 {priority}"
        unknown = Unknown(namespace, "rule", name, ", ".join([f"table {table}", *odd]))
        return [unknown], None if odd or source_len else (priority, table)
    source = f"{names.ip[found.get(_FRA_SRC, bytes(4))]}/{source_len}"
    elements: list[AnyElement] = [Rule(namespace, priority, source, table)]
    if odd:
        elements.append(Unknown(namespace, "rule", f"IPv4 {priority}", ", ".join(odd)))
    return elements, None if odd or source_len else (priority, table)
