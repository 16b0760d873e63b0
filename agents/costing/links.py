"""What bytes over links cost this machine: links kept full by the agents' own transport.

All that is not idle time (/proc/stat, see proc_stat(5)) is counted, softirqs too; less what the
same cluster takes without load.  Medians of short windows, so that a short disturbance does not
count; what is disturbed for longer is measured again, some times at most.
"""

from __future__ import annotations

import math
import os
import select
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple, TypeAlias

from agents.costing.costs import GIB
from testbed.errors import CapacityError, ProgramError
from testbed.lab import Lab, Process
from testbed.sandbox.program import Program

Load: TypeAlias = Callable[[Lab], AbstractContextManager[list[str]]]
"""Keeps links full as long as it is entered: "NIC direction" of each."""

_WINDOW_S, _WINDOWS, _IDLE_WINDOWS = 0.4, 5, 3
_SETTLE_S = 0.6  # queues and buffers fill
_READY_S = 20.0
_TRIES = 3
_QUIET_CORES, _QUIET_SPREAD = 0.15, 0.2  # good enough not to try again
_LEAST_SHARE = 0.7  # of the line; below, the load did not run
_MOST_OTHER_SHARE = 0.25  # of the machine that may be busy with something else
# Fields of the first line of /proc/stat: idle, waiting for I/O, stolen by the host.
_NOT_BUSY = (3, 4, 7)
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_CORES = os.cpu_count() or 1


class LinkCost(NamedTuple):
    """A GiB of one load.

    Args:
        s_per_gib: CPU seconds; 0 if the links could not be kept full.
        other_cores: busy without the load, before or behind.
        spread: of the load's windows: the quartiles' difference over the median.
    """

    s_per_gib: float
    other_cores: float
    spread: float


def least_disturbed(lab: Lab, load: Load, rate_bps: float) -> LinkCost:
    """Measure a load until nothing disturbs it, some times at most; the best of them.

    Args:
        lab: the cluster.
        load: fills links of `rate_bps` each.

    Raises:
        CapacityError: the machine is too busy with something else.
    """
    tries: list[LinkCost] = []
    for _ in range(_TRIES):
        before = _idle_cores()
        if before > _MOST_OTHER_SHARE * _CORES:
            continue
        with load(lab) as links:
            s_per_gib, spread = _loaded(lab, links, rate_bps, before)
        found = LinkCost(s_per_gib, max(before, _idle_cores()), spread)
        tries.append(found)
        if found.other_cores <= _QUIET_CORES and spread <= _QUIET_SPREAD:
            break
    usable = [one for one in tries if one.s_per_gib > 0]
    if not usable:
        raise _too_busy()
    return min(usable, key=lambda one: one.other_cores + one.spread)


def check_idle() -> None:
    """Refuse to measure on a busy machine, before anything is brought up.

    Raises:
        CapacityError: it is busy.
    """
    if _idle_cores() > _MOST_OTHER_SHARE * _CORES:
        raise _too_busy()


def _too_busy() -> CapacityError:
    return CapacityError(
        f"{_MOST_OTHER_SHARE:.0%} of the {_CORES} cores and more are busy with something else: "
        "what the agents' work costs cannot be told from it",
        hint="measure when the machine is idle: testbed costs --measure",
    )


def _idle_cores() -> float:
    return statistics.median(_busy_cores(_WINDOW_S) for _ in range(_IDLE_WINDOWS))


def _loaded(
    lab: Lab, links: Sequence[str], rate_bps: float, idle_cores: float
) -> tuple[float, float]:
    """(CPU seconds a GiB, spread) of the load that runs; no cost if it does not fill the links.

    Args:
        links: "NIC direction" of those that should be full.
        rate_bps: of each.
        idle_cores: busy without the load.
    """
    time.sleep(_SETTLE_S)
    began_s, before = carried(lab, links)
    windows = [_busy_cores(_WINDOW_S) for _ in range(_WINDOWS)]
    ended_s, after = carried(lab, links)
    bytes_per_s = (after - before) / (ended_s - began_s)
    if 8 * bytes_per_s < _LEAST_SHARE * rate_bps * len(links):
        return 0.0, math.inf
    low, middle, high = statistics.quantiles(windows, n=4)
    cores = max(0.0, middle - idle_cores)
    return cores / (bytes_per_s / GIB), (high - low) / middle if middle else 0.0


def busy_s() -> float:
    """CPU seconds that all cores have been busy, counted from an arbitrary moment."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    not_busy_s = sum(int(fields[index]) for index in _NOT_BUSY) / _TICKS_PER_S
    return _CORES * time.monotonic() - not_busy_s


def _busy_cores(seconds: float) -> float:
    began_s, busy = time.monotonic(), busy_s()
    time.sleep(seconds)  # the window itself
    return max(0.0, (busy_s() - busy) / (time.monotonic() - began_s))


def carried(lab: Lab, links: Sequence[str]) -> tuple[float, int]:
    """(time, bytes) of links together, "NIC direction" each."""
    found = [m for m in lab.counters() if f"{m.nic} {m.direction}" in links]
    assert len(found) == len(links), (links, [f"{m.nic} {m.direction}" for m in lab.counters()])
    return found[0].t_s, sum(m.bytes for m in found)


@contextmanager
def storage_reads(lab: Lab) -> Iterator[list[str]]:
    """One process on the storage node fills every node's SNIC."""
    nodes = _nodes(lab)
    with Programs(lab) as programs:
        targets = [programs.sink(node, lab[node].addresses["snic0"]) for node in nodes]
        programs.source("st0", lab["st0"].addresses["snic0"], targets)
        yield [f"{node}/snic0 in" for node in nodes]


@contextmanager
def loopbacks(lab: Lab) -> Iterator[list[str]]:
    """On every node, DRAM to HBM over the CNIC."""
    nodes = _nodes(lab)
    with Programs(lab) as programs:
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


class Programs(ExitStack):
    """Programs of one load, ended together."""

    def __init__(self, lab: Lab) -> None:
        super().__init__()
        self._lab = lab

    def start(self, module: str, domain: str, *arguments: str) -> Process:
        """Start a module in a domain."""
        program = Program(arguments, domain, module=module)
        process = self._lab.start(program)
        self.callback(process.close)
        return process

    def sink(self, domain: str, address: str) -> str:
        """Its ADDRESS=KEY."""
        process = self.start("agents.costing.stream_load", domain, "sink", "--bind", address)
        return f"{address}={line_of(process)}"

    def source(self, domain: str, address: str, targets: Sequence[str]) -> None:
        """Fill what leads to the sinks."""
        self.start(
            "agents.costing.stream_load", domain, "source", "--bind", address, "--to", *targets
        )


def line_of(process: Process) -> str:
    """The next line that a program prints; ProgramError if none comes."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], _READY_S)
    line = process.stdout.readline().decode().strip() if ready else ""
    if not line:
        said = b"" if not ready or process.stderr is None else process.stderr.read()
        raise ProgramError(f"a program of the measurement failed\n{said.decode().strip()}")
    return line
