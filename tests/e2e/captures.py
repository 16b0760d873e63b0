"""Agents' processes that capture what crosses the NICs of their domains, and reading that back.

    python -m tests.e2e.captures MODULE --name NAME --cluster FILE

A process opens its captures before it listens, so none of its connections begins unseen; a node
also those of its HBM domains, where no process lives.  It writes `DOMAIN.DEVICE.pcap` beside the
cluster file when it ends, and `DOMAIN.captured.json` with what the captures themselves lost.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
from scapy.layers.l2 import Ether
from scapy.packet import Packet
from scapy.utils import RawPcapReader, RawPcapWriter

from agents import cluster as cluster_file
from agents.settings import DualPathScenario
from agents.workload import DualPath
from testbed.experiment.workload import Placed
from testbed.plan.model import Plan
from testbed.sandbox.protocol import Connection
from testbed.sandbox.sockets import BROKER_VARIABLE, Broker

_ROOT = str(Path(__file__).resolve().parents[2])
_ETH_P_ALL = 0x0003
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h: past rmem_max, which only root may
_SOL_PACKET, _PACKET_STATISTICS = 263, 6  # linux/if_packet.h
_LONGEST_FRAME_BYTES = 1 << 17  # an aggregate, before segmentation
_BUFFER_BYTES = 256 << 20
_LINKTYPE_ETHERNET = 1
_SIOCGSKNS = 0x894C  # linux/sockios.h: a descriptor of the namespace that a socket was made in
_CLONE_NEWNET = 0x40000000  # linux/sched.h


class Capturing(DualPath):
    """The workload, every process of which captures."""

    def programs(
        self, scenario: DualPathScenario, plan: Plan, variant: str, directory: Path
    ) -> list[Placed]:
        """As ever, but wrapped."""
        return [
            Placed(
                placed.name,
                msgspec.structs.replace(
                    placed.program,
                    module="tests.e2e.captures",
                    fork=False,
                    argv=(str(placed.program.module), *placed.program.argv),
                    module_path=(_ROOT,),
                ),
            )
            for placed in super().programs(scenario, plan, variant, directory)
        ]


class Tap:
    """Captures one device in a thread of its own, until stopped."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.frames: list[tuple[float, bytes]] = []
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        self._socket.bind((device, _ETH_P_ALL))
        self._end, self._told = socket.socketpair()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(self._told, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._socket.fileno() in ready:
                self.frames.append((time.time(), self._socket.recv(_LONGEST_FRAME_BYTES)))
            elif ready:
                return  # told to stop, and nothing is left

    def stop(self) -> int:
        """End it; how many frames it lost."""
        self._end.close()
        self._thread.join()
        counted = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        self._socket.close()
        return int(struct.unpack("=II", counted)[1])


def _taps_beside(made: socket.socket) -> list[Tap]:
    """Capture every device of the namespace that a socket was made in.

    The namespace is entered by a thread of its own, so that the process stays where it is.
    """
    namespace = fcntl.ioctl(made, _SIOCGSKNS)
    taps: list[Tap] = []
    errors: list[OSError] = []

    def work() -> None:
        try:
            if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
            taps.extend(Tap(device) for _, device in socket.if_nameindex() if device != "lo")
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    os.close(namespace)
    if errors:
        raise errors[0]
    return taps


def _hbm_taps(name: str, rails: int) -> dict[str, list[Tap]]:
    """HBM domain -> its captures; none for a process without a broker."""
    if BROKER_VARIABLE not in os.environ:
        return {}
    # A copy: the node's own broker takes the descriptor over, and nothing else asks meanwhile.
    connection = Connection(socket.socket(fileno=os.dup(int(os.environ[BROKER_VARIABLE]))))
    broker = Broker(connection)
    found = {}
    for domain in (f"{name}g{rail}" for rail in range(rails)):
        [made] = broker.sockets(domain)
        with made:
            found[domain] = _taps_beside(made)
    connection.close()
    return found


def _keep(directory: Path, domain: str, taps: list[Tap]) -> None:
    """Stop the captures of a domain, and write what they saw and what they lost."""
    lost = {tap.device: tap.stop() for tap in taps}
    for tap in taps:
        file = directory / f"{domain}.{tap.device}.pcap"
        with RawPcapWriter(str(file), linktype=_LINKTYPE_ETHERNET) as out:
            out.write_header(b"")
            for t_s, data in tap.frames:
                out.write_packet(data, sec=int(t_s), usec=int(t_s % 1 * 1e6))
    (directory / f"{domain}.captured.json").write_text(json.dumps(lost))


class Frame(NamedTuple):
    """A frame, where it was seen."""

    process: str
    device: str
    packet: Packet


def captured(directory: Path) -> Iterator[Frame]:
    """Every frame of every capture of one variant."""
    for file in sorted(directory.glob("*.pcap")):
        process, device, _ = file.name.split(".")
        with RawPcapReader(str(file)) as reader:
            for data, _ in reader:
                yield Frame(process, device, Ether(data))


def lost(directory: Path) -> dict[str, int]:
    """ "process device" -> frames that a capture did not keep."""
    found = {}
    for file in directory.glob("*.captured.json"):
        told = json.loads(file.read_text())
        found |= {f"{file.name.split('.')[0]} {device}": n for device, n in told.items()}
    return found


def main() -> None:
    """Capture, and be the process."""
    module = sys.argv.pop(1)
    name = sys.argv[sys.argv.index("--name") + 1]
    file = Path(sys.argv[sys.argv.index("--cluster") + 1])
    own = [Tap(device) for _, device in socket.if_nameindex() if device != "lo"]
    taps = {name: own, **_hbm_taps(name, cluster_file.read(file).rails)}
    from agents import node, process
    from agents.client.process import Client
    from agents.scheduler.server import Scheduler
    from agents.storage.server import StorageNode

    kinds = {
        "agents.node": node.node,
        "agents.storage.server": StorageNode,
        "agents.scheduler.server": Scheduler,
        "agents.client.process": Client,
    }
    try:
        process.main(kinds[module])
    finally:
        for domain, each in taps.items():
            _keep(file.parent, domain, each)


if __name__ == "__main__":
    main()
