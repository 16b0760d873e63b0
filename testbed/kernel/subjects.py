"""How a message names a kernel object."""

from __future__ import annotations

from testbed.plan.model import (
    Address,
    AnyElement,
    FdbEntry,
    Filter,
    Namespace,
    Neighbour,
    Neighbours,
    Port,
    Redirect,
    Route,
    Rule,
    Shaper,
    ShaperClass,
    Sysctl,
    Unknown,
    Veth,
    key,
)

HTB_MAJOR = 1  # of a class whose shaper is not known


def subject(element: AnyElement) -> str:
    """A kernel object for people: "class 1:101 of pe0c3-read in fabric"."""
    match element:
        case Namespace(name=name):
            return f"namespace {name}"
        case Sysctl(namespace=namespace, key=name):
            return f"sysctl {name} in {namespace}"
        case Veth(namespace=namespace, device=device):
            peer = f"{element.peer_device} in {element.peer_namespace}"
            return f"veth {device} in {namespace} (peer {peer})"
        case Port(namespace=namespace, device=device, bridge=bridge):
            return f"port {device} of bridge {bridge} in {namespace}"
        case Address(namespace=namespace, device=device, address=address):
            return f"address {address}/{element.prefix_len} of {device} in {namespace}"
        case Route(namespace=namespace, device=device, destination=destination):
            return f"route {destination} by {device} in table {element.table} of {namespace}"
        case Rule(namespace=namespace, source=source, table=table):
            return f"rule {element.priority} from {source} table {table} in {namespace}"
        case Neighbour(namespace=namespace, device=device, address=address):
            return f"neighbour {address} of {device} in {namespace}"
        case Neighbours(namespace=namespace, device=device):
            return f"neighbours of {device} in {namespace}"
        case FdbEntry(namespace=namespace, device=device, mac=mac):
            return f"forwarding entry {mac} of {device} in {namespace}"
        case Shaper(namespace=namespace, device=device, handle=handle):
            return f"shaper {handle:x}: of {device} in {namespace}"
        case ShaperClass(namespace=namespace, device=device, classid=classid):
            return f"class {HTB_MAJOR}:{classid:x} of {device} in {namespace}"
        case Filter(namespace=namespace, device=device, parent=parent, handle=handle):
            where = f"chain {HTB_MAJOR}:{parent:x} of {device} in {namespace}"
            return f"filter {handle:x} to {HTB_MAJOR}:{element.classid:x} in {where}"
        case Redirect(namespace=namespace, device=device, direction=direction):
            return f"redirect of {direction} of {device} to {element.target} in {namespace}"
        case Unknown():
            return f"{element.kind} {element.name} in {element.namespace}"
        case _:
            tag, home, *names = key(element)
            return f"{tag} {' '.join(map(str, names))} in {home}"
