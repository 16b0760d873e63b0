"""Measuring what the agents' work costs this machine.

Other work on the machine disturbs it: how much there was is kept beside the costs.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from agents.blocks.generate import check_group, fill_group
from agents.blocks.layout import KVLayout
from agents.costing.costs import GIB, HopCost, MachineCosts
from agents.costing.links import (
    Programs,
    least_disturbed,
    line_of,
    loopbacks,
    storage_reads,
)
from agents.transformer.config import TINY
from agents.transformer.reference import Reference
from testbed.lab import Lab
from testbed.plan.compile import PlanSettings
from testbed.plan.footprint import footprint
from testbed.plan.model import counts
from testbed.plan.source import build_topology

_WIDE_BYTES = 65536
_CHECKED_BYTES = 16 << 20
_READS = 20  # of counters
_CHECK_LAYOUT = KVLayout(layers=61, layer_block_bytes=48)
_CONTEXT_TOKENS, _TURN_TOKENS = 512, 16  # of the transformer: about what `validate` has


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
        spread: of the load that was disturbed most, see `LinkCost`.
    """

    costs: MachineCosts
    other_cores: float
    spread: float


def measure(report: Callable[[str], None]) -> Measured:
    """Measure all costs; some thirty seconds.

    Args:
        report: takes a few words about what is being done.

    Raises:
        CapacityError: the machine is too busy with something else to keep links full.
        TestbedError: no cluster could be brought up.
    """
    report("KV blocks and tokens")
    check_s, token_s = _check_s_per_gib(), _token_s()
    snic: list[HopCost] = []
    cnic: list[HopCost] = []
    others, spreads = [], []
    bring_up_s = math.inf
    talk = _Talk(*[0.0] * len(_Talk._fields))
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
        began_s = time.monotonic()
        with Lab(topology, settings=settings) as lab:
            took_s = time.monotonic() - began_s - footprint(lab.plan).bring_up_s
            bring_up_s = min(bring_up_s, max(0.0, took_s))
            if number == 0:
                talk = _talk(lab)
            rate_bps = point.mbit * 1e6
            packet_bytes = settings.gso_bytes(round(rate_bps))
            for found, load in ((snic, storage_reads), (cnic, loopbacks)):
                best = least_disturbed(lab, load, rate_bps)
                found.append(
                    HopCost(rate_bps, packet_bytes, best.s_per_gib, best.programs_s_per_gib)
                )
                others.append(best.other_cores)
                spreads.append(best.spread)
    costs = MachineCosts(
        snic=tuple(snic),
        cnic=tuple(cnic),
        check_s_per_gib=check_s,
        operation_s=talk.operation_s,
        timer_s=talk.timer_s,
        counter_s=talk.counter_s,
        token_s=token_s,
        load_s=talk.load_s,
        load_bytes=talk.load_bytes,
        program_s=talk.program_s,
        program_bytes=talk.program_bytes,
        bring_up_s=bring_up_s,
    )
    return Measured(costs, max(others), max(spreads))


# --- messages, timers, counters, programs ---


class _Talk(NamedTuple):
    """See `MachineCosts`."""

    operation_s: float
    timer_s: float
    counter_s: float
    load_s: float
    load_bytes: float
    program_s: float
    program_bytes: float


def _talk(lab: Lab) -> _Talk:
    peers = [f"{name}={lab[name].addresses['mgmt']}" for name in ("client", "sched")]
    with Programs(lab) as programs:  # this one before anything is preloaded
        loading = json.loads(line_of(programs.start("agents.costing.loading", "client")))
        both = [
            programs.start_agent("agents.costing.chatter", name, "--name", name, "--peers", *peers)
            for name in ("client", "sched")
        ]
        for process in both:
            line_of(process)
        costs = [json.loads(line_of(process)) for process in both]
    shapers = counts(lab.plan)["shaper"]
    # The supervisor reads while this process waits: one of them works at a time.
    counter_s = min(_seconds(lab.counters) for _ in range(_READS)) / shapers
    # Each of the two sends one message a question, and receives one: two ends, one message.
    operation_s = sum(cost["operation_s"] for cost in costs) / 2
    program_s, timer_s = (
        statistics.mean(cost[name] for cost in costs) for name in ("program_s", "timer_s")
    )
    program_bytes = statistics.mean(cost["private_bytes"] for cost in costs)
    return _Talk(
        operation_s=operation_s,
        timer_s=timer_s,
        counter_s=counter_s,
        load_s=loading["load_s"],
        load_bytes=loading["private_bytes"],
        program_s=program_s,
        program_bytes=program_bytes,
    )


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
    """A turn of one session by the reference, a token of it; engines do the same again."""
    rng = np.random.default_rng(0)
    reference = Reference(TINY, _CONTEXT_TOKENS + 2 * _TURN_TOKENS)
    context, appended = (
        rng.integers(TINY.vocabulary, size=size)
        for size in (_CONTEXT_TOKENS - _TURN_TOKENS, _TURN_TOKENS)
    )
    reference.turn(context, _TURN_TOKENS)  # weights are made, caches warm
    began_s = time.process_time()
    reference.turn(appended, _TURN_TOKENS)
    return 2 * (time.process_time() - began_s) / _TURN_TOKENS
