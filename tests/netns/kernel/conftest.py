"""Every test here runs in a child process with namespaces of its own.

What it makes vanishes with the child, and pytest itself stays in the host's namespaces.
"""

from __future__ import annotations

import ctypes
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from testbed.kernel import namespaces as ns
from testbed.kernel.apply import apply
from testbed.plan.lanes import Leaf, Leaves, shaper_elements
from testbed.plan.model import (
    Address,
    AnyElement,
    Bridge,
    FdbEntry,
    Ifb,
    Namespace,
    Neighbours,
    Plan,
    Port,
    Redirect,
    Route,
    Rule,
    Sysctl,
    Veth,
)
from testbed.plan.settings import PlanSettings
from testbed.plan.sysctls import sysctl_values

PR_SET_DUMPABLE, PR_SET_PDEATHSIG, NOBODY = 4, 1, 65534
SETTINGS = PlanSettings(mtu=1500, queue_packets=200)
RATE_BPS = 80_000_000


# --- a child process for each test -------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool:
    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    as_user = pyfuncitem.get_closest_marker("as_user") is not None
    run_in_child(lambda: pyfuncitem.obj(**arguments), as_user=as_user)
    return True


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "as_user: the child gives up root, if it is, first")


def run_in_child(body: Callable[[], None], *, as_user: bool) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _child(body, writing, as_user=as_user)
    os.close(writing)
    try:
        with os.fdopen(reading, "rb") as report:
            said = report.read().decode()
    finally:
        os.kill(child, signal.SIGKILL)  # it has ended, unless the test ran out of time
        os.waitpid(child, 0)
    verdict, _, text = said.partition("\n")
    if verdict == "skipped":
        pytest.skip(text)
    if verdict != "passed":
        pytest.fail(text or "the test's process died", pytrace=False)


def _child(body: Callable[[], None], writing: int, *, as_user: bool) -> None:
    verdict = "passed\n"
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        enter_namespaces(as_user=as_user)
        body()
    except pytest.skip.Exception as reason:
        verdict = f"skipped\n{reason}"
    except BaseException:
        verdict = f"failed\n{traceback.format_exc()}"
    finally:
        os.write(writing, verdict.encode())
        os._exit(0)


def enter_namespaces(*, as_user: bool) -> None:
    if as_user and os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        # A process that changed its user may not write its own maps until it says so.
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1)
    if os.geteuid() != 0:
        uid, gid = os.geteuid(), os.getegid()
        ns.unshare(ns.CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    ns.unshare(ns.CLONE_NEWNET | ns.CLONE_NEWNS | ns.CLONE_NEWUTS | ns.CLONE_NEWIPC)
    ns.mount("none", "/", "", ns.MS_REC | ns.MS_PRIVATE)


# --- plans -------------------------------------------------------------------------------------


def mac(address: str) -> str:
    return "02:00:" + ":".join(f"{int(part):02x}" for part in address.split("."))


def veth(
    here: tuple[str, str], there: tuple[str, str], ether: str, gso_max_bytes: int = 16384
) -> Veth:
    return Veth(*here, *there, ether, SETTINGS.mtu, gso_max_bytes, SETTINGS.queue_packets)


def namespace(name: str) -> list[AnyElement]:
    values = sysctl_values(SETTINGS)
    return [Namespace(name), *(Sysctl(name, key, value) for key, value in values.items())]


def attached(
    domain: str, device: str, address: str, bridge: str, port: str, peers: Sequence[str]
) -> list[AnyElement]:
    """A domain's port on a bridge: link, address, neighbours, and the way back."""
    inside, outside = (domain, device), ("fabric", port)
    return [
        veth(inside, outside, mac(address)),
        veth(outside, inside, mac(address).replace("02:00", "02:01")),
        Port("fabric", port, bridge, False, False, False, False),
        FdbEntry("fabric", port, mac(address)),
        Address(domain, device, address, 32),
        Route(domain, 254, "10.64.0.0/10", device, address, 2000),
        Neighbours(domain, device, frozenset((peer, mac(peer)) for peer in peers)),
    ]


@pytest.fixture
def star() -> Plan:
    """h1 <-> sw <-> h2 at 80 Mbit/s, shaped at the egress of both ends of both links."""
    elements = [*namespace("h1"), *namespace("h2"), *namespace("fabric")]
    elements.append(Bridge("fabric", "sw", "02:02:00:00:00:01", SETTINGS.mtu))
    addresses = {"h1": "10.64.0.1", "h2": "10.64.0.2"}
    for host, address in addresses.items():
        peers = [other for other in addresses.values() if other != address]
        elements += attached(host, f"{host}-eth0", address, "sw", f"sw-{host}", peers)
        for where in ((host, f"{host}-eth0"), ("fabric", f"sw-{host}")):
            leaves = [Leaf(i, 0x3, (f"h{i}",)) for i in (0, 1, 2, 3)]
            elements += shaper_elements(*where, RATE_BPS, Leaves(leaves, leaves), SETTINGS)
    return Plan(frozenset(elements))


@pytest.fixture
def cnic() -> Plan:
    """dram <-> nic0 <-> hbm, both ports through the IFBs nic0-read and nic0-write."""
    elements = [*namespace("dram"), *namespace("hbm"), *namespace("fabric")]
    elements.append(Bridge("fabric", "nic0", "02:02:00:00:00:01", SETTINGS.mtu))
    dram, hbm = "10.64.0.1", "10.64.0.2"
    elements += attached("dram", "cnic0", dram, "nic0", "nic0-dram", [hbm])
    elements += attached("hbm", "cnic0", hbm, "nic0", "nic0-hbm", [dram])
    elements += [
        Route("dram", 100, "10.64.0.0/10", "cnic0", dram, 2000),
        Rule("dram", 1000, f"{dram}/32", 100),
    ]
    leaves = [Leaf(1, 0x3, ("dram",)), Leaf(2, 0x3, ("hbm",))]
    for number, (direction, name) in enumerate((("ingress", "read"), ("egress", "write"))):
        device = f"nic0-{name}"
        ether = f"02:03:00:00:00:{number:02x}"
        elements.append(Ifb("fabric", device, ether, SETTINGS.mtu, 65536, SETTINGS.queue_packets))
        elements += shaper_elements("fabric", device, RATE_BPS, Leaves(leaves, leaves), SETTINGS)
        elements += [
            Redirect("fabric", port, direction, device) for port in ("nic0-dram", "nic0-hbm")
        ]
    return Plan(frozenset(elements))


def make(plan: Plan) -> dict[str, int]:
    """The network namespaces of a plan, with the plan applied."""
    nets = networks(plan)
    apply(plan, nets)
    return nets


def networks(plan: Plan) -> dict[str, int]:
    return {e.name: ns.create_network() for e in plan.elements if isinstance(e, Namespace)}


@pytest.fixture
def bring_up() -> Callable[[Plan], Mapping[str, int]]:
    return make


@pytest.fixture
def create_networks() -> Callable[[Plan], Mapping[str, int]]:
    return networks


@pytest.fixture
def host_links() -> Iterator[None]:
    """The host's own devices are untouched by the test."""
    before = Path("/proc/net/dev").read_text().count(":")
    yield
    assert Path("/proc/net/dev").read_text().count(":") == before
