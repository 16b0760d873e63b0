"""CPU per GiB over one CNIC's loopback: the KV transport beside iperf3, on the same interfaces.

    python -m scripts.bench.cnic_cost [--json]

DRAM -> CNIC (read and write shaper) -> HBM, one connection, at 100 Mbit, 500 Mbit and 2 Gbit/s.
CPU is the whole machine's over a window, interrupts and softirqs included: all that is not idle
(`testbed.fidelity.processors`), less what the idle machine takes in a window of the same run.
Bytes are the CNIC's own, headers included.  The two take turns, A B B A; medians.  Target: 1.3
times iperf3.

    pe0 ──┐ read ┌──────┐ write ┌── pe0g0
          └──────┤ cnic ├───────┘
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from testbed.fidelity.processors import read_cpu_times, spent
from testbed.lab import Lab, Process
from testbed.units import show_rate
from topologies.dualpath import DualPathTopo

RATES_MBIT = (100.0, 500.0, 2000.0)
MOST = 1.3
ORDER = ["ours", "iperf3", "iperf3", "ours"] * 3
SETTLE_S = 1.5
WINDOW_BYTES = 100e6
LEAST_WINDOW_S, MOST_WINDOW_S = 4.0, 8.0
GIB = 1 << 30
_ROOT = str(Path(__file__).resolve().parents[2])


def cnic_bytes(lab: Lab) -> tuple[float, int]:
    """(time, bytes) that the CNIC has read from memory."""
    (found,) = (m for m in lab.counters() if m.nic == "pe0/cnic0" and m.direction == "read")
    return found.t_s, found.bytes


def window(lab: Lab, seconds: float) -> tuple[float, float, float]:
    """(seconds, busy CPU-seconds, bytes) of a window that begins now."""
    began_s, before = cnic_bytes(lab)
    cpu = read_cpu_times()
    time.sleep(seconds)  # the window itself
    found = spent(cpu, read_cpu_times())
    ended_s, after = cnic_bytes(lab)
    return ended_s - began_s, found.busy - found.steal, after - before


@contextmanager
def _programs(*started: Process) -> Iterator[None]:
    with ExitStack() as stack:
        for process in started:
            stack.callback(process.close)
        yield


@contextmanager
def ours(lab: Lab) -> Iterator[None]:
    """The transport of the agents, writes of the size that long reads from storage are cut into."""
    near, far = (lab[name].addresses["cnic0"] for name in ("pe0", "pe0g0"))
    load = [sys.executable, "-m", "agents.costing.stream_load"]
    sink = lab["pe0g0"].popen([*load, "sink", "--bind", far], cwd=_ROOT, stdin=subprocess.DEVNULL)
    assert sink.stdout is not None
    key = sink.stdout.readline().decode().strip()
    source = lab["pe0"].popen(
        [*load, "source", "--to", f"{far}={key}", "--bind", near],
        cwd=_ROOT,
        stdin=subprocess.DEVNULL,
    )
    with _programs(sink, source):
        yield


@contextmanager
def iperf3(lab: Lab) -> Iterator[None]:
    """One stream of iperf3, as it comes."""
    near, far = (lab[name].addresses["cnic0"] for name in ("pe0", "pe0g0"))
    server = lab["pe0g0"].popen(["iperf3", "-s", "-B", far, "--forceflush"])
    assert server.stdout is not None
    while b"listening" not in server.stdout.readline().lower():
        pass
    client = lab["pe0"].popen(["iperf3", "-c", far, "-B", near, "-t", "600"])
    with _programs(server, client):
        yield


LOADS: dict[str, Callable[[Lab], Any]] = {"ours": ours, "iperf3": iperf3}


def compare(mbit: float) -> dict[str, Any]:
    """Both loads in turns on a CNIC of this rate."""
    seconds = min(MOST_WINDOW_S, max(LEAST_WINDOW_S, WINDOW_BYTES * 8 / (mbit * 1e6)))
    costs: dict[str, list[float]] = {name: [] for name in LOADS}
    shares: dict[str, list[float]] = {name: [] for name in LOADS}
    with Lab(DualPathTopo(gpus=1, cnic_mbit=mbit)) as lab:
        time.sleep(SETTLE_S)
        idle_s, idle, _ = window(lab, seconds)
        for name in ORDER:
            with LOADS[name](lab):
                time.sleep(SETTLE_S)
                took_s, busy, size_bytes = window(lab, seconds)
            if size_bytes * 8 / took_s < mbit * 1e6 / 2:
                raise RuntimeError(f"{name} does not fill the line: has it failed?")
            costs[name].append((busy - idle / idle_s * took_s) / (size_bytes / GIB))
            shares[name].append(size_bytes * 8 / took_s / (mbit * 1e6))
    median = {name: statistics.median(each) for name, each in costs.items()}
    ratio = median["ours"] / median["iperf3"]
    return {
        "line_bps": mbit * 1e6,
        "window_s": seconds,
        "idle_cores": idle / idle_s,
        "cpu_s_per_gib": costs,
        "share_of_line": shares,
        "median": median,
        "ratio": ratio,
        "ok": ratio <= MOST and min(min(each) for each in shares.values()) > 0.97,
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args()
    if shutil.which("iperf3") is None:
        sys.exit("iperf3 is not installed: there is nothing to compare with")
    rows = [compare(mbit) for mbit in RATES_MBIT]
    if told.json:
        print(json.dumps(rows, indent=2))
    else:
        for row in rows:
            each = ", ".join(
                f"{name} {' '.join(f'{cost:.2f}' for cost in costs)}"
                for name, costs in row["cpu_s_per_gib"].items()
            )
            print(
                f"{show_rate(row['line_bps'])}/s: {row['ratio']:.2f} times iperf3 "
                f"(CPU-s per GiB: {each}; idle {row['idle_cores']:.2f} cores)"
            )
    sys.exit(0 if all(row["ok"] for row in rows) else 1)


if __name__ == "__main__":
    main()
