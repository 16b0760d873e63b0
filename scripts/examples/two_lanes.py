"""Two kinds of traffic on one compute NIC: KV from a node's DRAM, a collective from its GPU.

    python scripts/examples/two_lanes.py

pe0 and pe0g0 share the CNIC pe0c0.  Each sends to its counterpart of node de0 for three seconds:
in a lane of its own first, then both in the KV lane.  With lanes the collective takes the line, and
KV has its 1 % and what its buffers hold when the collective ends; in one lane they share evenly.
An experiment of one's own is no more than this: a Topo, programs in its domains, the kernel's
counters.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

from testbed import Lab
from topologies.dualpath import DualPathTopo

MODEL, KV = 0xB8, 0x20  # the marks (tos) of the two lanes
READY_S, LASTS_S = 1.0, 3.0

SINK = """
import socket, sys, time
with socket.create_server((sys.argv[1], 5001)) as server:
    print("ready", flush=True)
    flow, _ = server.accept()
    size = len(flow.recv(1 << 20))
    began = time.monotonic()
    while data := flow.recv(1 << 20):
        size += len(data)
    print(size * 8 / (time.monotonic() - began) / 1e6)
"""
SOURCE = """
import socket, sys, time
near, far, mark, begins, ends = sys.argv[1:]
with socket.socket() as flow:
    flow.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, int(mark))
    flow.bind((near, 0))
    flow.connect((far, 5001))
    time.sleep(max(0.0, float(begins) - time.monotonic()))
    while time.monotonic() < float(ends):
        flow.sendall(bytes(1 << 16))
"""


def send(lab: Lab, source: str, target: str, mark: int, begins_s: float) -> float:
    """What arrives of one flow, Mbit/s; programs of a machine have one monotonic clock."""
    near, far = lab[source].addresses["cnic0"], lab[target].addresses["cnic0"]
    with lab[target].popen([sys.executable, "-c", SINK, far]) as sink:
        assert sink.stdout is not None
        sink.stdout.readline()
        times = [str(begins_s), str(begins_s + LASTS_S)]
        words = [sys.executable, "-c", SOURCE, near, far, str(mark), *times]
        lab[source].run(words, timeout=60, check=True)
        return float(sink.stdout.readline())


def share(lab: Lab, model_mark: int) -> tuple[float, float]:
    """Both at once: rates of KV and of the collective."""
    begins_s = time.monotonic() + READY_S
    with ThreadPoolExecutor() as pool:
        kv = pool.submit(send, lab, "pe0", "de0", KV, begins_s)
        model = pool.submit(send, lab, "pe0g0", "de0g0", model_mark, begins_s)
        return kv.result(), model.result()


def main() -> None:
    with Lab(DualPathTopo(prefill=1, decode=1, gpus=1, cnic_mbit=100)) as lab:
        for name, mark in (("two lanes", MODEL), ("one lane", KV)):
            kv, model = share(lab, mark)
            print(f"{name}: KV {kv:.1f} Mbit/s, collective {model:.1f} Mbit/s")
        print("\nCNIC      direction  model, bytes    KV, bytes  drops")
        for nic in lab.counters():
            if nic.kind == "cnic":
                model_bytes, kv_bytes = nic.lanes["model"].bytes, nic.lanes["kv"].bytes
                print(f"{nic.nic}  {nic.direction:9}  {model_bytes:12}  {kv_bytes:11}  {nic.drops}")


if __name__ == "__main__":
    main()
