"""Decisions of the adaptive request scheduler per second, on one core.

    python -m scripts.bench.scheduler [--json]

1 152 engines in 144 groups, as in DualPath's largest experiment (48 prefill and 96 decode nodes
of 8).  Every group fetches in turn; between two fetches of a group as many requests arrive as end.
A decision is an engine for a request, so a request takes two; reading the reports is part of the
time, making them (the engines' work) is not.  Each round is measured alone; the median counts.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from typing import Any

from agents.scheduler.pull import PullScheduler
from agents.scheduler.state import Ask, EngineReport, GroupReport

PREFILL, DECODE, RAILS = 48, 96, 8
ROUNDS, WARM_UP = 30, 5
TARGET_PER_S = 20_000
# The 64K agent trace: 32.7 K tokens a turn, 600 K of them in 5 s, 1.9 M read in 3 s.
PROMPT_TOKENS, ALPHA, BETA = 32_721, 1_900_000, 600_000
HBM_BYTES, TOKEN_BYTES = 40 * 2**30, 78_324
LOADS = {"as many requests as engines": PREFILL * RAILS * 3, "an eighth": PREFILL * RAILS * 3 // 8}


class Engines:
    """What the nodes would say: every request is taken at once, and ends after some rounds."""

    def __init__(self) -> None:
        self.nodes = [f"pe{n}" for n in range(PREFILL)] + [f"de{n}" for n in range(DECODE)]
        self._held: dict[str, list[dict[int, Ask]]] = {
            node: [{} for _ in range(RAILS)] for node in self.nodes
        }
        self._taken: dict[str, list[int]] = {node: [] for node in self.nodes}

    def take(self, ask: Ask, node: str, rail: int) -> None:
        self._held[node][rail][ask.request] = ask
        self._taken[node].append(ask.request)

    def end(self, request: int, node: str, rail: int) -> None:
        del self._held[node][rail][request]

    def report(self, node: str) -> GroupReport:
        taken, self._taken[node] = self._taken[node], []
        decode = node.startswith("de")
        engines = []
        for held in self._held[node]:
            tokens = sum(ask.tokens if decode else ask.prompt_tokens for ask in held.values())
            used = sum(ask.hbm_bytes for ask in held.values()) if decode else 0
            engines.append(EngineReport(len(held), tokens, HBM_BYTES - used))
        return GroupReport(node, engines, len(taken) * PROMPT_TOKENS, len(taken), taken, taken)


def measure(per_round: int, seed: int) -> dict[str, Any]:
    """Rounds of fetches under one load."""
    draw = random.Random(seed)
    pull = PullScheduler(
        [f"pe{n}" for n in range(PREFILL)],
        [f"de{n}" for n in range(DECODE)],
        RAILS,
        alpha_tokens=ALPHA,
        beta_tokens=BETA,
        seed=seed,
    )
    engines = Engines()
    asks: dict[int, Ask] = {}
    ends: list[list[Any]] = [[] for _ in range(ROUNDS + 4)]
    rates, waits, number = [], [], 0
    for turn in range(ROUNDS):
        decisions, spent_s = 0, 0.0
        for place, node in enumerate(engines.nodes):
            due = per_round * (place + 1) // len(engines.nodes)
            arrived = []
            while number < turn * per_round + due:
                tokens = max(1, int(draw.gauss(PROMPT_TOKENS, PROMPT_TOKENS / 3)))
                ask = Ask(number, tokens, tokens + 176, (tokens + 176) * TOKEN_BYTES)
                asks[number] = ask
                arrived.append(ask)
                number += 1
            report = engines.report(node)
            before = sum(pull.waiting)
            began_s = time.process_time()
            for ask in arrived:
                pull.submit(ask)
            placed = pull.fetch(report)
            for each in placed:
                pull.read_queue(each.prefill[0])
                pull.reading(each.request, each.prefill[0], asks[each.request].prompt_tokens)
            spent_s += time.process_time() - began_s
            decisions += before + 2 * len(arrived) - sum(pull.waiting)
            for each in placed:
                engines.take(asks[each.request], *each.prefill)
                engines.take(asks[each.request], *each.decode)
                ends[turn + draw.randint(1, 3)].append(each)
        for each in ends[turn]:
            engines.end(each.request, *each.prefill)
            engines.end(each.request, *each.decode)
            began_s = time.process_time()
            pull.ended(each.request)
            spent_s += time.process_time() - began_s
        if turn >= WARM_UP:
            rates.append(decisions / spent_s)
            waits.append(max(pull.waiting))
    return {
        "requests_per_round": per_round,
        "decisions_per_s": statistics.median(rates),
        "slowest_round": min(rates),
        "waiting_at_most": max(waits),
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    told = parser.parse_args()
    rows = {name: measure(load, told.seed) for name, load in LOADS.items()}
    slowest = min(row["decisions_per_s"] for row in rows.values())
    ok = slowest >= TARGET_PER_S
    if told.json:
        found = {"engines": (PREFILL + DECODE) * RAILS, "groups": PREFILL + DECODE, "loads": rows}
        print(json.dumps({"decisions_per_s": slowest, "ok": ok, **found}, indent=2))
    else:
        for name, row in rows.items():
            print(f"{name:<30} {row['decisions_per_s']:>9,.0f} decisions/s")
        print(f"target {TARGET_PER_S:,}: {'met' if ok else 'missed'}")
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
