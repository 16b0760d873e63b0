"""What is tried to find out what this kernel and this user can do: small plans, single calls."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from testbed.errors import TestbedError
from testbed.kernel import namespaces as ns
from testbed.plan.model import (
    Address,
    AnyElement,
    Bridge,
    FdbEntry,
    Filter,
    Ifb,
    Namespace,
    Neighbours,
    Plan,
    Port,
    Redirect,
    Route,
    Rule,
    Shaper,
    ShaperClass,
    Sysctl,
    Veth,
    burst_ticks,
)
from testbed.plan.settings import PlanSettings
from testbed.plan.sysctls import sysctl_values

_RATE_BPS = 8_000_000
_MTU, _QUEUE = 1500, 100


class Probe(msgspec.Struct, frozen=True):
    """Something to try; it raises when it does not work."""

    name: str
    needed_for: str
    run: Callable[[], None]
    remedy: str
    required: bool = True


def own_probes() -> list[Probe]:
    """What is tried in the process itself, in this order; it is then in new namespaces."""
    probes = []
    if os.geteuid() != 0:
        probes.append(Probe(
            "user namespace", "running without root", _user_namespace,
            "as root: sysctl -w kernel.unprivileged_userns_clone=1 (Debian), "
            "kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu), "
            "user.max_user_namespaces=10000; or run the testbed as root",
        ))  # fmt: skip
    probes.append(Probe(
        "namespaces", "everything", _other_namespaces,
        "inside a container, start it with --privileged or --cap-add SYS_ADMIN",
    ))  # fmt: skip
    return probes


def _user_namespace() -> None:
    uid, gid = os.geteuid(), os.getegid()
    ns.unshare(ns.CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")


def _other_namespaces() -> None:
    ns.unshare(
        ns.CLONE_NEWNS | ns.CLONE_NEWPID | ns.CLONE_NEWNET | ns.CLONE_NEWUTS | ns.CLONE_NEWIPC
    )


def inner_probes() -> list[Probe]:
    """What is tried by pid 1 of the new namespaces, in this order."""
    module = "load the module, or use a kernel that has it: modprobe {}".format
    return [
        Probe(
            "mounts", "processes of a testbed see only each other", _mounts,
            "inside a container, start it with --privileged (its /proc must not be masked)",
        ),
        Probe(
            "domains", "memory domains with a /sys and a /dev/shm of their own", _domains,
            "inside a container, start it with --privileged",
        ),
        Probe("sysctls", "bounded buffers, no IPv6, lanes of replies", _sysctls,
               "use a kernel of 5.10 or later"),
        Probe("veth", "links", _applies(_veths), module("veth")),
        Probe("bridge", "NICs and fabrics", _applies(_bridges), module("bridge")),
        Probe("static forwarding", "fabrics without loops or floods", _applies(_forwarding),
               module("bridge")),
        Probe("routing by source", "choosing a CNIC by bind()", _applies(_routing),
               "use a kernel with CONFIG_IP_MULTIPLE_TABLES"),
        Probe("HTB", "rates and lanes", _applies(_shapers), module("sch_htb")),
        Probe("u32", "choosing lane and leaf", _applies(_filters), module("cls_u32")),
        Probe(
            "IFB", "the shapers that the ports of a CNIC share", _ifb,
            "modprobe ifb numifbs=0 (without numifbs=0 it makes ifb0 and ifb1 in the host)",
        ),
        Probe("redirects", "the shapers that the ports of a CNIC share", _applies(_redirects),
               module("-a sch_ingress cls_u32 act_mirred ifb")),
        *(
            Probe(
                f"qdisc {kind}", purpose, _qdisc(kind),
                f"{module(f'sch_{kind}')}; the kernels of Debian, Ubuntu and Fedora have it",
                required=False,
            )
            for kind, purpose in _OPTIONAL_QDISCS.items()
        ),
        *(
            Probe(f"congestion control {name}", "network.congestion_control", _congestion(name),
                   f"modprobe tcp_{name}; sysctl -w net.ipv4.tcp_allowed_congestion_control="
                   f"'reno {name}'", required=False)
            for name in ("cubic", "reno", "dctcp", "bbr")
        ),
    ]  # fmt: skip


# Nothing of the testbed uses them: its links have a rate, and lose nothing.
_OPTIONAL_QDISCS = {
    "netem": "delay, loss or jitter that you add with tc inside a node",
    "fq": "pacing by flow, with tc inside a node",
    "fq_codel": "queues that bound delay, with tc inside a node",
    "prio": "strict priorities, with tc inside a node",
    "tbf": "single-rate shapers, with tc inside a node",
}


def _mounts() -> None:
    ns.mount("none", "/", "", ns.MS_REC | ns.MS_PRIVATE)
    ns.mount("proc", "/proc", "proc", ns.MS_NOSUID | ns.MS_NODEV | ns.MS_NOEXEC)


def _domains() -> None:
    ns.create_domain("domain").close()


def _sysctls() -> None:
    values = sysctl_values(PlanSettings())
    _apply([Namespace("a"), *(Sysctl("a", key, value) for key, value in values.items())])


def _ifb() -> None:
    _refuse_to_load_ifb()
    _apply(_ifbs())


def _refuse_to_load_ifb() -> None:
    """Making an IFB loads the module, which by default makes two devices in the host."""
    modules = Path("/lib/modules") / os.uname().release / "modules.dep"
    if not modules.exists() or "/ifb.ko" not in modules.read_text():
        return  # built in, or not there at all
    loaded = Path("/proc/modules").read_text().splitlines()
    if not any(line.startswith("ifb ") for line in loaded):
        raise TestbedError("the module is not loaded yet; loading it now would leave traces")


def _applies(elements: Callable[[], list[AnyElement]]) -> Callable[[], None]:
    return lambda: _apply(elements())


def _apply(elements: Sequence[AnyElement]) -> None:
    """Apply elements in new network namespaces, read them back and compare."""
    from testbed.kernel.apply import apply
    from testbed.kernel.readback import read

    plan = Plan(frozenset(elements))
    nets = {e.name: ns.create_network() for e in elements if isinstance(e, Namespace)}
    try:
        apply(plan, nets)
        found = read(nets).elements
        kept = {e for e in plan.elements if e not in found}
        if kept:
            raise TestbedError(f"the kernel did not keep: {', '.join(map(str, kept))}")
    finally:
        for net in nets.values():
            os.close(net)


def _mac(number: int) -> str:
    return f"02:00:00:00:00:{number:02x}"


def _veths() -> list[AnyElement]:
    return [
        Namespace("a"), Namespace("b"),
        Veth("a", "a0", "b", "b0", _mac(1), _MTU, 65536, _QUEUE),
        Veth("b", "b0", "a", "a0", _mac(2), _MTU, 65536, _QUEUE),
    ]  # fmt: skip


def _bridges() -> list[AnyElement]:
    return [
        *_veths(), Bridge("b", "bridge", _mac(3), _MTU),
        Port("b", "b0", "bridge", learning=False, flood=False, multicast_flood=False,
             broadcast_flood=False),
    ]  # fmt: skip


def _forwarding() -> list[AnyElement]:
    return [
        *_bridges(),
        FdbEntry("b", "b0", _mac(1)),
        Neighbours("a", "a0", frozenset({("10.0.0.2", _mac(2))})),
    ]


def _routing() -> list[AnyElement]:
    return [
        *_veths(), Address("a", "a0", "10.0.0.1", 32),
        Route("a", 100, "10.0.0.0/8", "a0", "10.0.0.1", 1000),
        Rule("a", 1000, "10.0.0.1/32", 100),
    ]  # fmt: skip


def _shapers() -> list[AnyElement]:
    def made(classid: int, parent: int, queue: int) -> ShaperClass:
        ticks = burst_ticks(_MTU, _RATE_BPS)
        return ShaperClass(
            "a", "a0", classid, parent, _RATE_BPS, _RATE_BPS, ticks, ticks, 2 * _MTU, 0, queue
        )

    return [*_veths(), Shaper("a", "a0", 1, 0x10, _QUEUE), made(1, 0, 0), made(0x10, 1, _QUEUE)]


def _filters() -> list[AnyElement]:
    everything = {"tos": 0, "tos_mask": 0, "source": 0, "source_mask": 0}
    return [*_shapers(), Filter("a", "a0", 0, 1, 1, **everything, classid=0x10)]


def _ifbs() -> list[AnyElement]:
    return [Namespace("a"), Ifb("a", "ifb", _mac(4), _MTU, 65536, _QUEUE)]


def _redirects() -> list[AnyElement]:
    _refuse_to_load_ifb()
    return [
        *_veths(), *_ifbs()[1:],
        Redirect("a", "a0", "ingress", "ifb"), Redirect("a", "a0", "egress", "ifb"),
    ]  # fmt: skip


def _qdisc(kind: str) -> Callable[[], None]:
    """Try a qdisc without options: an unknown kind is refused as such."""

    def probe() -> None:
        from testbed.kernel.netlink import RouteSocket
        from testbed.kernel.shaper_messages import plain_qdisc

        net = ns.create_network()
        try:
            with ns.inside(net), RouteSocket() as opened:
                number = opened.try_one(plain_qdisc(socket.if_nametoindex("lo"), kind))
        finally:
            os.close(net)
        if number == errno.ENOENT:  # anything else is about the options that it wants
            raise TestbedError(f"this kernel has no qdisc {kind}")

    return probe


def _congestion(name: str) -> Callable[[], None]:
    key = "net/ipv4/tcp_congestion_control"
    return lambda: _apply([Namespace("a"), Sysctl("a", key, name)])
