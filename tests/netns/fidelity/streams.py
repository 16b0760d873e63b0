"""A workload of one stream, and a hand that does it some mischief while it is measured.

    h1 -- s1 -- h2, 50 Mbit
    client -- mgmt -- sched, 1 Gbit      (a stream that should not be there)

python -m tests.netns.fidelity.streams ROLE DIRECTORY TARGET MISCHIEF
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mininet.topo import SingleSwitchTopo, Topo

from testbed.experiment.scale import Scale
from testbed.experiment.scenario import Scenario
from testbed.experiment.workload import Outcome, Placed, Series
from testbed.plan.compile import PlanSettings
from testbed.plan.model import Plan
from testbed.sandbox.program import Program
from topologies.dualpath import DualPathTopo

ROOT = str(Path(__file__).resolve().parents[3])
PORT = 5555
LINE_MBIT = 50
WARM_UP_S, WINDOW_S = 0.3, 1.2
_PIECE = bytes(64 * 1024)
_DATAGRAM_SOCKETS = 128
_SHAPER = 1 << 16  # the handle 1: of every shaper, as a packet's priority


class Star(SingleSwitchTopo):
    """A switch and hosts, all links with a rate."""

    def build(self, k: int = 2, mbit: float = LINE_MBIT) -> None:
        self._mbit = mbit
        super().build(k)

    def addLink(self, a: str, b: str, **options: object) -> object:
        return super().addLink(a, b, bw=self._mbit, **options)


class Streams:
    """The workload; its one variant has the name of the mischief."""

    scenario_type = Scenario
    source, sink, device = "h1", "h2", "h2-eth0"

    def __init__(self, mischief: str) -> None:
        self.mischief = mischief

    def topology(self, scenario: Scenario) -> Topo:
        return Star(2)

    def plan_settings(self, scenario: Scenario) -> PlanSettings:
        return PlanSettings()

    def measure_costs(self, report: Callable[[str], None]) -> None:
        pass

    def predict(self, scenario: Scenario, plan: Plan) -> dict[str, Any]:
        return {}

    def check(self, scenario: Scenario, plan: Plan) -> None:
        pass

    def largest_scale(self, scenario: Scenario) -> Scale:
        return scenario.scale

    def variants(self, scenario: Scenario) -> list[str]:
        return [self.mischief]

    def programs(
        self, scenario: Scenario, plan: Plan, variant: str, directory: Path
    ) -> list[Placed]:
        target = plan.domains[self.sink].addresses[self.device]
        return [
            Placed(
                host,
                Program(
                    (role, str(directory.resolve()), target, self.mischief),
                    host,
                    module="tests.netns.fidelity.streams",
                    module_path=(ROOT,),
                    fork=False,
                ),
            )
            for host, role in ((self.sink, "sink"), (self.source, "source"))
        ]

    def outcome(
        self, scenario: Scenario, plan: Plan, variant: str, directory: Path, series: Series
    ) -> Outcome:
        said = series.finished
        account = self.account(float(said["sent_bytes"]))
        return Outcome({}, {}, (said["open_s"], said["close_s"]), [], account)

    def account(self, sent_bytes: float) -> dict[tuple[str, str], float]:
        return {
            ("h1/h1-eth0", "out"): sent_bytes, ("h2/h2-eth0", "in"): sent_bytes,
            ("h1/h1-eth0", "in"): 0.0, ("h2/h2-eth0", "out"): 0.0,
        }  # fmt: skip

    def compare(
        self, scenario: Scenario, prediction: dict[str, Any], outcomes: dict[str, Outcome]
    ) -> dict[str, Any]:
        return {}


class ManagementStream(Streams):
    """The stream, where only control messages belong."""

    source, sink, device = "client", "sched", "mgmt"

    def topology(self, scenario: Scenario) -> Topo:
        return DualPathTopo(gpus=1)

    def account(self, sent_bytes: float) -> dict[tuple[str, str], float]:
        return {("pe0/snic0", "in"): 0.0}


# --- the programs ------------------------------------------------------------------------------


def say(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


def sink(directory: Path, target: str) -> None:
    (directory / "sink.pid").write_text(str(os.getpid()))
    with socket.create_server((target, PORT)) as server:
        say(event="ready")
        assert sys.stdin.readline() == "start\n"
        connection, _ = server.accept()
        buffer = bytearray(256 * 1024)
        with connection:
            while connection.recv_into(buffer):
                pass
            connection.sendall(b"x")  # all of it has arrived
    assert sys.stdin.readline() == "stop\n"
    say(event="stopped")
    sys.stdin.read()


def source(directory: Path, target: str, mischief: str) -> None:
    say(event="ready")
    assert sys.stdin.readline() == "start\n"
    sent = 0
    opened_s = time.monotonic() + WARM_UP_S
    closed_s = opened_s + WINDOW_S
    with contextlib.ExitStack() as scope:
        if mischief in BEFORE_CONNECTING:
            scope.enter_context(MISCHIEF[mischief](directory, target))
        connection = scope.enter_context(socket.create_connection((target, PORT)))
        done = False
        while (now_s := time.monotonic()) < closed_s:
            if now_s > opened_s and not done:
                done = True
                if mischief not in BEFORE_CONNECTING:
                    scope.enter_context(MISCHIEF[mischief](directory, target))
            sent += connection.send(_PIECE)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)
    if mischief == "falsified count":
        sent = sent * 11 // 10
    say(event="finished", sent_bytes=sent, open_s=opened_s, close_s=closed_s)
    assert sys.stdin.readline() == "stop\n"
    say(event="stopped")
    sys.stdin.read()


# --- the hand ------------------------------------------------------------------------------------


def command(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


def classes(device: str) -> list[str]:
    """Class ids of the leaves of the kv lane."""
    lines = command("tc", "class", "show", "dev", device).splitlines()
    return [line.split()[2] for line in lines if " parent 1:20 " in line]


@contextlib.contextmanager
def nothing(directory: Path, target: str) -> Iterator[None]:
    yield


@contextlib.contextmanager
def short_queue(directory: Path, target: str) -> Iterator[None]:
    """Leaves hold two packets; the sender has many more under way."""
    for leaf in classes("h1-eth0"):
        command("tc", "qdisc", "replace", "dev", "h1-eth0", "parent", leaf, "pfifo", "limit", "2")
    yield


@contextlib.contextmanager
def class_changed(directory: Path, target: str) -> Iterator[None]:
    """A lane gets twice its rate."""
    raise_class("1:1", "1:20", "1mbit", "ceil", f"{2 * LINE_MBIT}mbit")
    yield


@contextlib.contextmanager
def class_raised(directory: Path, target: str) -> Iterator[None]:
    """All classes get twenty times the line, and datagrams make use of it.

    What waits at the switch is in their sockets' buffers still, so there are many sockets.
    """
    raised = f"{20 * LINE_MBIT}mbit"
    raise_class("1:", "1:1", raised)
    raise_class("1:1", "1:20", "1mbit", "ceil", raised)
    for leaf in classes("h1-eth0"):
        raise_class("1:20", leaf, "1mbit", "ceil", raised)
    with contextlib.ExitStack() as scope:
        for _ in range(_DATAGRAM_SOCKETS):
            one = scope.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            one.setblocking(False)
            with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
                while True:
                    one.sendto(bytes(8000), (target, PORT))
        yield


def raise_class(parent: str, name: str, *rates: str) -> None:
    command(
        "tc", "class", "change", "dev", "h1-eth0", "parent", parent, "classid", name, "htb",
        "rate", *rates,
    )  # fmt: skip


@contextlib.contextmanager
def class_removed(directory: Path, target: str) -> Iterator[None]:
    """The leaf of what is unclassified: the kernel lets go of it, as no filter names it."""
    command("tc", "class", "del", "dev", "h1-eth0", "classid", "1:f000")
    yield


@contextlib.contextmanager
def not_ipv4(directory: Path, target: str) -> Iterator[None]:
    """Frames that no lane is meant for."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind(("h1-eth0", 0))
        header = b"\x02\x00" + socket.inet_aton(target) + raw.getsockname()[4] + b"\x88\xb5"
        for _ in range(3):
            raw.send(header + bytes(200))
    yield


@contextlib.contextmanager
def past_the_classes(directory: Path, target: str) -> Iterator[None]:
    """A socket whose priority is the shaper's handle: HTB lets its packets go unshaped."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, _SHAPER)
        for _ in range(3):
            one.sendto(bytes(1000), (target, PORT))
    yield


@contextlib.contextmanager
def route_around(directory: Path, target: str) -> Iterator[None]:
    """A cable from h1 to h2 beside the switch, without a shaper, and a route by it."""
    pid = (directory / "sink.pid").read_text()
    command("ip", "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", pid)
    at_sink(directory, "ip", "link", "set", "cable", "up")
    shown = json.loads(at_sink(directory, "ip", "-json", "link", "show", "cable"))
    command("ip", "link", "set", "cable", "up")
    command("ip", "route", "replace", f"{target}/32", "dev", "cable", "src", own_address())
    command("ip", "neigh", "add", target, "lladdr", shown[0]["address"], "dev", "cable")
    yield


@contextlib.contextmanager
def narrow_device(directory: Path, target: str) -> Iterator[None]:
    """h2's device takes smaller packets than the link carries; one that is too large comes."""
    at_sink(directory, "ip", "link", "set", "h2-eth0", "mtu", "5000")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(bytes(8000), (target, PORT))
    yield


def at_sink(directory: Path, *words: str) -> str:
    """A command in the sink's network namespace."""
    pid = (directory / "sink.pid").read_text()
    return command("nsenter", "--target", pid, "--net", *words)


def own_address() -> str:
    (link,) = json.loads(command("ip", "-json", "address", "show", "dev", "h1-eth0"))
    return str(link["addr_info"][0]["local"])


@contextlib.contextmanager
def cpu_hog(directory: Path, target: str) -> Iterator[None]:
    """Twice as many busy processes as processors."""
    children = [_spinning() for _ in range(2 * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for child in children:
            os.kill(child, 9)
            os.waitpid(child, 0)


def _spinning() -> int:
    child = os.fork()
    if child == 0:
        threading.Timer(20.0, os._exit, (0,)).start()
        while True:
            pass
    return child


MISCHIEF: dict[str, Callable[[Path, str], contextlib.AbstractContextManager[None]]] = {
    "none": nothing,
    "falsified count": nothing,
    "short queue": short_queue,
    "class changed": class_changed,
    "class raised": class_raised,
    "class removed": class_removed,
    "not IPv4": not_ipv4,
    "past the classes": past_the_classes,
    "route around": route_around,
    "narrow device": narrow_device,
    "CPU hog": cpu_hog,
}
BEFORE_CONNECTING = {"route around", "narrow device"}


def main() -> None:
    role, directory, target, mischief = sys.argv[1:]
    if role == "sink":
        sink(Path(directory), target)
    else:
        source(Path(directory), target, mischief)


if __name__ == "__main__":
    main()
