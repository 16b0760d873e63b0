"""What bytes over links cost this machine: links kept full by the agents' own transport.

The programs at both ends say what they take.  Most of forwarding is not theirs: shapers let packets
go by timers, in softirqs that interrupt whatever runs, or nothing.  So all softirqs of the machine
are added (`testbed.fidelity.processors`), less those of the same cluster without load, before and
behind.  Programs of others do not disturb this by much; their packets do, and then a load is
measured again, once more.  (Softirqs that run on top of the programs count twice where the
kernel has no CONFIG_IRQ_TIME_ACCOUNTING; on an idle machine most interrupt nothing.)
"""

from __future__ import annotations

import math
import select
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import NamedTuple, TypeAlias

from agents import entry_modules
from agents.costing.costs import GIB
from testbed.errors import CapacityError, ProgramError
from testbed.fidelity.processors import CpuSpent, read_cpu_times, spent
from testbed.lab import Lab, Process
from testbed.sandbox.program import Program

Load: TypeAlias = "Callable[[Lab], AbstractContextManager[Loaded]]"
"""Keeps links full as long as it is entered."""

_IDLE_S, _LOADED_S = 0.6, 1.4
_SETTLE_S = 0.5  # queues and buffers fill
_READY_S = 20.0
_TRIES = 2
_QUIET_SPREAD = 0.15  # good enough not to try again
_LEAST_SHARE = 0.7  # of the line; below, the load did not run


class Loaded(NamedTuple):
    """A load that runs.

    Args:
        links: "NIC direction" of those that are full.
        programs: that fill them.
    """

    links: list[str]
    programs: Programs


class LinkCost(NamedTuple):
    """A GiB of one load.

    Args:
        s_per_gib: CPU seconds of the machine.
        programs_s_per_gib: of the programs alone.
        other_cores: busy without the load.
        spread: difference of the softirqs without load, before and behind, over all that was found.
    """

    s_per_gib: float
    programs_s_per_gib: float
    other_cores: float
    spread: float


def least_disturbed(lab: Lab, load: Load, rate_bps: float) -> LinkCost:
    """Measure a load, and again if it was disturbed; the better of the two.

    Args:
        lab: the cluster.
        load: fills links of `rate_bps` each.

    Raises:
        CapacityError: the machine is too busy to keep the links full.
    """
    tries: list[LinkCost] = []
    for _ in range(_TRIES):
        found = _cost(lab, load, rate_bps)
        if found is not None:
            tries.append(found)
            if found.spread <= _QUIET_SPREAD:
                break
    if not tries:
        raise CapacityError(
            f"this machine cannot keep {rate_bps / 1e6:g} Mbit links full now, so that what bytes "
            "cost it cannot be measured",
            hint="measure when the machine is idle: testbed costs --measure",
        )
    return min(tries, key=lambda one: one.spread)


def _idle() -> CpuSpent:
    """What the machine does without the load."""
    before = read_cpu_times()
    time.sleep(_IDLE_S)  # the window itself
    return spent(before, read_cpu_times())


def _cost(lab: Lab, load: Load, rate_bps: float) -> LinkCost | None:
    """What a load costs; None if it does not fill its links."""
    first = _idle()
    with load(lab) as loaded:
        time.sleep(_SETTLE_S)
        before, (began_s, size) = read_cpu_times(), carried(lab, loaded.links)
        programs_s = loaded.programs.cpu_s()
        time.sleep(_LOADED_S)  # the window itself
        programs_s = loaded.programs.cpu_s() - programs_s
        ended_s, size_then = carried(lab, loaded.links)
        now = spent(before, read_cpu_times())
    last = _idle()
    seconds, size_bytes = ended_s - began_s, size_then - size
    if 8 * size_bytes < _LEAST_SHARE * rate_bps * len(loaded.links) * seconds:
        return None
    return link_cost(size_bytes, programs_s, now, first, last)


def link_cost(
    size_bytes: int, programs_s: float, loaded: CpuSpent, first: CpuSpent, last: CpuSpent
) -> LinkCost:
    """What a load cost.

    Args:
        size_bytes: that it moved.
        programs_s: that its programs took meanwhile.
        loaded: by all processors in that time.
        first, last: by all processors without the load, before and behind.
    """
    without = [one.softirq / one.wall_s for one in (first, last)]
    softirq_s = max(0.0, loaded.softirq - sum(without) / 2 * loaded.wall_s)
    machine_s = programs_s + softirq_s
    gib = size_bytes / GIB
    return LinkCost(
        machine_s / gib,
        programs_s / gib,
        max((one.busy - one.steal) / one.wall_s for one in (first, last)),
        abs(without[0] - without[1]) * loaded.wall_s / machine_s if machine_s else math.inf,
    )


def carried(lab: Lab, links: Sequence[str]) -> tuple[float, int]:
    """(time, bytes) of links together, "NIC direction" each."""
    found = [m for m in lab.counters() if f"{m.nic} {m.direction}" in links]
    assert len(found) == len(links), (links, [f"{m.nic} {m.direction}" for m in lab.counters()])
    return found[0].t_s, sum(m.bytes for m in found)


@contextmanager
def storage_reads(lab: Lab) -> Iterator[Loaded]:
    """One process on the storage node fills every node's SNIC."""
    nodes = _nodes(lab)
    with Programs(lab) as programs:
        targets = [programs.sink(node, lab[node].addresses["snic0"]) for node in nodes]
        programs.source("st0", lab["st0"].addresses["snic0"], targets)
        yield Loaded([f"{node}/snic0 in" for node in nodes], programs)


@contextmanager
def loopbacks(lab: Lab) -> Iterator[Loaded]:
    """On every node, DRAM to HBM over the CNIC."""
    nodes = _nodes(lab)
    with Programs(lab) as programs:
        for node in nodes:
            target = programs.sink(f"{node}g0", lab[f"{node}g0"].addresses["cnic0"])
            programs.source(node, lab[node].addresses["cnic0"], [target])
        yield Loaded([f"{node}/cnic0 read" for node in nodes], programs)


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
        self._started: list[Process] = []

    def start(self, module: str, domain: str, *arguments: str) -> Process:
        """Start a module in a domain."""
        return self.start_program(Program(arguments, domain, module=module))

    def start_agent(self, module: str, domain: str, *arguments: str) -> Process:
        """The same, as the agents' programs are started."""
        return self.start_program(
            Program(
                arguments,
                domain,
                module=module,
                preload=entry_modules.ALL,
                environment=entry_modules.ENVIRONMENT,
            )
        )

    def start_program(self, program: Program) -> Process:
        """Start a program."""
        process = self._lab.start(program)
        self.callback(process.close)
        self._started.append(process)
        return process

    def cpu_s(self) -> float:
        """CPU seconds that all of them have taken, as they say."""
        for process in self._started:
            assert process.stdin is not None
            process.stdin.write(b"\n")
            process.stdin.flush()
        return sum(float(line_of(process)) for process in self._started)

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
