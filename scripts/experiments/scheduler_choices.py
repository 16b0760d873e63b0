"""The effect of each choice that the paper's scheduler leaves open, and of placement itself.

    python -m scripts.experiments.scheduler_choices [--rounds 3] [--only fetch-period] [--json]

A small 2P4D cluster, one choice changed at a time from the defaults.  Without compute, under a load
that leaves the storage NICs some air, so that balance matters, and (full) under one that does not;
with modelled engines whose decode HBM binds (hbm).  A row is the median over rounds of one short
run each; a round goes through all choices, so that a busy minute does not fall on one of them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

_NETWORK = """
name: choices
topology: {name: 2p4d, set: {gpus: 4, s: 0.5}}
# Layer Blocks of 24 bytes exactly; SNICs of 12.5 Mbit: cheap, so that a busy machine does not show.
scale: {rate: 16000, bytes: 3424}
duration: 15s
network: {gso_max: 64KiB}
engines: network-only
workload: {kind: agentic, trace: 64k, agents: AGENTS}
window: {warm_up: 3s, tolerance: 0.3}
policies: [shorter-queue]
"""
AIR = _NETWORK.replace("AGENTS", "16")
FULL = _NETWORK.replace("AGENTS", "60")
HBM = """
name: choices
topology: {name: 2p4d, set: {gpus: 2, s: 0.5}}
# Layer Blocks of 24 bytes exactly; a decode engine holds three or four prompts.
scale: {rate: 4000, bytes: 3424}
duration: 30s
network: {gso_max: 64KiB}
engines: modelled
buffers: {hbm: 10GiB}
workload: {kind: agentic, trace: 32k, agents: 80}
window: {warm_up: 3s, warm_up_turns: 1.5, tolerance: 0.3}
policies: [shorter-queue]
"""


class Choice(NamedTuple):
    """One row: a scenario, and what is changed in its section `scheduler`."""

    group: str
    scenario: str
    changes: dict[str, str]


CHOICES = {
    "defaults": Choice("defaults", AIR, {}),
    "fetch_period 5ms": Choice("fetch-period", AIR, {"fetch_period": "5ms"}),
    "fetch_period 50ms": Choice("fetch-period", AIR, {"fetch_period": "50ms"}),
    "fetch_period 200ms": Choice("fetch-period", AIR, {"fetch_period": "200ms"}),
    "fetch_period 1s": Choice("fetch-period", AIR, {"fetch_period": "1s"}),
    "unreported ignored": Choice("unreported", AIR, {"unreported": "ignored"}),
    "read_queue_falls bytes": Choice("read-queue", AIR, {"read_queue_falls": "bytes"}),
    "ties first": Choice("ties", AIR, {"ties": "first"}),
    "prefill_scope group": Choice("scope", AIR, {"prefill_scope": "group"}),
    "placement least-tokens": Choice("placement", AIR, {"placement": "least-tokens"}),
    "placement round-robin": Choice("placement", AIR, {"placement": "round-robin"}),
    "full: defaults": Choice("full", FULL, {}),
    "full: fetch_period 1s": Choice("full", FULL, {"fetch_period": "1s"}),
    "full: placement least-tokens": Choice("full", FULL, {"placement": "least-tokens"}),
    "full: placement round-robin": Choice("full", FULL, {"placement": "round-robin"}),
    "hbm: defaults": Choice("free-hbm", HBM, {}),
    "hbm: free_hbm net": Choice("free-hbm", HBM, {"free_hbm": "net"}),
    "hbm: placement least-tokens": Choice("free-hbm", HBM, {"placement": "least-tokens"}),
}
FIGURES = ("snic_max_avg", "kv_load_mbps", "ttft_p50_s", "ttft_p99_s", "turns_per_s")


def measure(choice: Choice, out: str) -> dict[str, Any]:
    """One run."""
    file = Path(out) / "choices.yaml"
    file.write_text(choice.scenario)
    changes = [f"scheduler.{key}={value}" for key, value in choice.changes.items()]
    options = [part for change in changes for part in ("--set", change)]
    command = [sys.executable, "-m", "testbed.cli.main", "run", str(file), "--json", "--out", out]
    done = subprocess.run(
        [*command, "--accept-unfaithful", *options],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    found = json.loads(done.stdout)
    if "error" in found:
        raise SystemExit(f"{changes}: {found['error']['message']}")
    (seen,) = found["policies"].values()
    if seen["requests_failed"] or seen["window_s"] is None:
        raise SystemExit(
            f"{changes}: {seen['requests_failed']} requests failed, {found['reasons']}"
        )
    return {
        "snic_max_avg": seen["snic_max_avg"],
        "kv_load_mbps": seen["kv_load_bps"] / 1e6,
        "ttft_p50_s": seen["ttft_s"]["p50"],
        "ttft_p99_s": seen["ttft_s"]["p99"],
        "turns_per_s": seen["turns_per_s"],
        "reasons": found["reasons"],
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    groups = sorted({choice.group for choice in CHOICES.values()})
    parser.add_argument("--only", choices=groups, action="append")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args()
    chosen = {n: c for n, c in CHOICES.items() if not told.only or c.group in told.only}
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in chosen}
    with tempfile.TemporaryDirectory() as out:
        for _ in range(told.rounds):
            for name, choice in chosen.items():
                runs[name].append(measure(choice, out))
                print(f"{name}: {runs[name][-1]}", file=sys.stderr)
    rows = {
        name: {
            **{key: statistics.median(run[key] for run in seen) for key in FIGURES},
            "widest_max_avg": [min(r["snic_max_avg"] for r in seen),
                               max(r["snic_max_avg"] for r in seen)],
            "unfaithful": sum(bool(run["reasons"]) for run in seen),
        }
        for name, seen in runs.items()
    }  # fmt: skip
    if told.json:
        print(json.dumps({"rounds": told.rounds, "choices": rows}, indent=2))
        return
    print(f"| {'choice':<28} | Max/Avg (range) | KV, Mbit/s | TTFT p50 / p99, s | turns/s |")
    print("|---|---|---|---|---|")
    for name, row in rows.items():
        least, most = row["widest_max_avg"]
        print(
            f"| {name:<28} | {row['snic_max_avg']:.3f} ({least:.3f}–{most:.3f}) | "
            f"{row['kv_load_mbps']:.1f} | {row['ttft_p50_s']:.2f} / {row['ttft_p99_s']:.2f} | "
            f"{row['turns_per_s']:.2f} |"
        )
    unfaithful = sum(row["unfaithful"] for row in rows.values())
    print(f"{unfaithful} of {told.rounds * len(rows)} runs had the verdict FAIL", file=sys.stderr)


if __name__ == "__main__":
    main()
