"""Measuring what the agents' work costs this machine.

Bytes: the agents' own transport keeps links of a small cluster full, and all that is not idle
time (/proc/stat, see proc_stat(5)) is counted, softirqs too; less what the same cluster takes
without load.  Medians of short windows, so that a short disturbance does not count.  A machine that
has other work cannot be measured: what it took is kept beside the costs.
"""

from __future__ import annotations

import json
import os
import select
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from agents.blocks.generate import check_group, fill_group
from agents.blocks.layout import KVLayout
from agents.costing.costs import GIB, HopCost, MachineCosts
from agents.transformer.config import TINY
from agents.transformer.reference import Reference
from testbed.errors import CapacityError, ProgramError
from testbed.lab import Lab, Process
from testbed.plan.compile import PlanSettings
from testbed.plan.model import counts
from testbed.plan.source import build_topology
from testbed.sandbox.program import Program

_WINDOW_S, _WINDOWS, _IDLE_WINDOWS = 0.4, 5, 4
_SETTLE_S = 0.6  # queues and buffers fill
_READY_S = 20.0
_LEAST_SHARE = 0.7  # of the line; below, the load did not run
_MOST_OTHER_SHARE = 0.5  # of the machine that may be busy with something else
_WIDE_BYTES = 65536
# Fields of the first line of /proc/stat: idle, waiting for I/O, stolen by the host.
_NOT_BUSY = (3, 4, 7)
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_CORES = os.cpu_count() or 1
_CHECKED_BYTES = 16 << 20
_READS = 20  # of counters
_CHECK_LAYOUT = KVLayout(layers=61, layer_block_bytes=48)
_TOKENS = 48


class Point(NamedTuple):
    """One cluster to measure on: so many links of a rate, filled at once.

    Args:
        mbit: of every SNIC and CNIC.
        links: of either kind, on as many nodes: together fast enough to be told from noise.
        packet_bytes: None for what the rate gives (`PlanSettings.gso_bytes`).
    """

    mbit: float
    links: int
    packet_bytes: int | None


POINTS = (Point(100, 8, _WIDE_BYTES), Point(800, 2, _WIDE_BYTES), Point(100, 8, None))


class Measured(NamedTuple):
    """Costs, and how much they can be relied on.

    Args:
        costs: of this machine.
        other_cores: that were busy with something else meanwhile, at most.
        spread: largest relative difference of the quartiles of one load's windows.
    """

    costs: MachineCosts
    other_cores: float
    spread: float


def measure(report: Callable[[str], None]) -> Measured:
    """Measure all costs; some twenty seconds.

    Args:
        report: takes a few words about what is being done.

    Raises:
        CapacityError: the machine is too busy with something else.
        TestbedError: no cluster could be brought up.
    """
    report("KV blocks and tokens")
    check_s, token_s = _check_s_per_gib(), _token_s()
    snic: list[HopCost] = []
    cnic: list[HopCost] = []
    others, spreads = [], []
    talk = _Talk(0.0, 0.0, 0.0, 0.0, 0.0)
    for number, point in enumerate(POINTS):
        report(f"links of {point.mbit:g} Mbit")
        settings = PlanSettings(gso_max_bytes=point.packet_bytes)
        half = point.links // 2
        topology = build_topology(
            "dualpath",
            {
                "prefill": f"{half}", "decode": f"{point.links - half}", "gpus": "1",
                "cnic_mbit": f"{point.mbit:g}",
            },
        )  # fmt: skip
        with Lab(topology, settings=settings) as lab:
            if number == 0:
                talk = _talk(lab)
            idle = [_busy_cores(_WINDOW_S) for _ in range(_IDLE_WINDOWS)]
            other = statistics.median(idle)
            if other > _MOST_OTHER_SHARE * _CORES:
                raise CapacityError(
                    f"{other:.1f} of {_CORES} cores are busy with something else: what the "
                    "agents' work costs cannot be told from it",
                    hint="measure when the machine is idle: testbed costs --measure",
                )
            others.append(max(0.0, other - talk.counter_s))
            rate_bps = point.mbit * 1e6
            packet_bytes = settings.gso_bytes(round(rate_bps))
            for found, load in ((snic, _storage_reads), (cnic, _loopbacks)):
                with load(lab) as links:
                    cost, spread = _cost(lab, links, rate_bps, other)
                found.append(HopCost(rate_bps, packet_bytes, cost))
                spreads.append(spread)
    costs = MachineCosts(
        snic=tuple(snic),
        cnic=tuple(cnic),
        check_s_per_gib=check_s,
        operation_s=talk.operation_s,
        timer_s=talk.timer_s,
        counter_s=talk.counter_s,
        token_s=token_s,
        program_s=talk.program_s,
        program_bytes=talk.program_bytes,
    )
    return Measured(costs, max(others), max(spreads))


# --- bytes over links ---


def busy_s() -> float:
    """CPU seconds that all cores have been busy, counted from an arbitrary moment."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    not_busy_s = sum(int(fields[index]) for index in _NOT_BUSY) / _TICKS_PER_S
    return _CORES * time.monotonic() - not_busy_s


def _busy_cores(seconds: float) -> float:
    began_s, busy = time.monotonic(), busy_s()
    time.sleep(seconds)  # the window itself
    return max(0.0, (busy_s() - busy) / (time.monotonic() - began_s))


def _cost(
    lab: Lab, links: Sequence[str], rate_bps: float, idle_cores: float
) -> tuple[float, float]:
    """(CPU seconds a GiB, spread) of the load that runs.

    Args:
        links: "NIC direction" of those that are full.
        rate_bps: of each.
        idle_cores: busy without the load.
    """
    time.sleep(_SETTLE_S)
    began_s, before = _carried(lab, links)
    windows = [_busy_cores(_WINDOW_S) for _ in range(_WINDOWS)]
    ended_s, after = _carried(lab, links)
    bytes_per_s = (after - before) / (ended_s - began_s)
    share = 8 * bytes_per_s / (rate_bps * len(links))
    if share < _LEAST_SHARE:
        raise CapacityError(
            f"links of {rate_bps / 1e6:g} Mbit were only {share:.0%} full: the machine is too busy "
            "to measure what bytes cost it",
            hint="measure when the machine is idle: testbed costs --measure",
        )
    low, middle, high = statistics.quantiles(windows, n=4)
    cores = max(0.0, middle - idle_cores)
    return cores / (bytes_per_s / GIB), (high - low) / middle if middle else 0.0


def _carried(lab: Lab, links: Sequence[str]) -> tuple[float, int]:
    """(time, bytes) of the full links together."""
    found = [m for m in lab.counters() if f"{m.nic} {m.direction}" in links]
    assert len(found) == len(links), (links, [f"{m.nic} {m.direction}" for m in lab.counters()])
    return found[0].t_s, sum(m.bytes for m in found)


@contextmanager
def _storage_reads(lab: Lab) -> Iterator[list[str]]:
    """One process on the storage node fills every node's SNIC."""
    nodes = _nodes(lab)
    with _Programs(lab) as programs:
        targets = [programs.sink(node, lab[node].addresses["snic0"]) for node in nodes]
        programs.source("st0", lab["st0"].addresses["snic0"], targets)
        yield [f"{node}/snic0 in" for node in nodes]


@contextmanager
def _loopbacks(lab: Lab) -> Iterator[list[str]]:
    """On every node, DRAM to HBM over the CNIC."""
    nodes = _nodes(lab)
    with _Programs(lab) as programs:
        for node in nodes:
            target = programs.sink(f"{node}g0", lab[f"{node}g0"].addresses["cnic0"])
            programs.source(node, lab[node].addresses["cnic0"], [target])
        yield [f"{node}/cnic0 read" for node in nodes]


def _nodes(lab: Lab) -> list[str]:
    return [
        name
        for name, domain in lab.plan.domains.items()
        if domain.kind == "dram" and domain.role in ("prefill", "decode")
    ]


class _Programs(ExitStack):
    """Programs of one load, ended together."""

    def __init__(self, lab: Lab) -> None:
        super().__init__()
        self._lab = lab

    def start(self, module: str, domain: str, *arguments: str) -> Process:
        program = Program(arguments, domain, module=module)
        process = self._lab.start(program)
        self.callback(process.close)
        return process

    def sink(self, domain: str, address: str) -> str:
        """Its ADDRESS=KEY."""
        process = self.start("agents.costing.stream_load", domain, "sink", "--bind", address)
        return f"{address}={_line(process)}"

    def source(self, domain: str, address: str, targets: Sequence[str]) -> None:
        self.start(
            "agents.costing.stream_load", domain, "source", "--bind", address, "--to", *targets
        )


def _line(process: Process) -> str:
    """The next line that a program prints; ProgramError if none comes."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], _READY_S)
    line = process.stdout.readline().decode().strip() if ready else ""
    if not line:
        said = b"" if not ready or process.stderr is None else process.stderr.read()
        raise ProgramError(f"a program of the measurement failed\n{said.decode().strip()}")
    return line


# --- messages, timers, counters, programs ---


class _Talk(NamedTuple):
    """See `MachineCosts`."""

    operation_s: float
    timer_s: float
    counter_s: float
    program_s: float
    program_bytes: float


def _talk(lab: Lab) -> _Talk:
    peers = [f"{name}={lab[name].addresses['mgmt']}" for name in ("client", "sched")]
    began = busy_s()
    with _Programs(lab) as programs:
        both = [
            programs.start("agents.costing.chatter", name, "--name", name, "--peers", *peers)
            for name in ("client", "sched")
        ]
        for process in both:
            _line(process)
        program_s = (busy_s() - began) / len(both)
        costs = [json.loads(_line(process)) for process in both]
    shapers = counts(lab.plan)["shaper"]
    # The supervisor reads while this process waits: one of them works at a time.
    counter_s = min(_seconds(lab.counters) for _ in range(_READS)) / shapers
    # Each of the two sends one message a question, and receives one: two ends, one message.
    operation_s = sum(cost["operation_s"] for cost in costs) / 2
    timer_s = statistics.mean(cost["timer_s"] for cost in costs)
    program_bytes = statistics.mean(cost["private_bytes"] for cost in costs)
    return _Talk(operation_s, timer_s, counter_s, program_s, program_bytes)


def _seconds(work: Callable[[], object]) -> float:
    began_s = time.monotonic()
    work()
    return time.monotonic() - began_s


# --- KV ---


def _check_s_per_gib() -> float:
    """Blocks made and checked, as engines do."""
    layout = _CHECK_LAYOUT
    blocks = _CHECKED_BYTES // layout.full_block_bytes
    hashes = np.arange(1, blocks + 1, dtype=np.uint64)
    memory = memoryview(bytearray(layout.group_bytes(layout.layers, blocks, layout.block_tokens)))

    def once() -> float:
        began_s = time.process_time()
        fill_group(layout, hashes, 0, layout.layers, layout.block_tokens, memory)
        wrong = check_group(layout, hashes, 0, layout.layers, layout.block_tokens, memory)
        assert wrong is None
        return (time.process_time() - began_s) / 2

    once()  # pages are taken
    return min(once() for _ in range(3)) / (memory.nbytes / GIB)


def _token_s() -> float:
    """A turn of one session by the reference, a token; engines do the same again."""
    reference = Reference(TINY, 4 * _TOKENS)
    prompt = np.arange(_TOKENS) % TINY.vocabulary
    reference.turn(prompt, 2)  # weights are made, caches warm
    began_s = time.process_time()
    reference.turn(prompt[:_TOKENS], _TOKENS)
    return 2 * (time.process_time() - began_s) / _TOKENS
