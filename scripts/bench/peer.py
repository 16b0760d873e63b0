"""Where a cache in decode nodes pays: hit rate and gain over cache size / working set.

    python -m scripts.bench.peer [--ratio 0.5]… [--think 10s]… [--preset 1p2d] [--set …] [--json]

For each think time one run of `shorter-queue` measures the working set: the bytes of different
blocks that requests looked for or wrote.  Then `shorter-queue` and `adaptive` run with caches of
the given shares of it, all decode nodes together, with the same sessions on fresh clusters.  The
hit rate is the share of hit KV that came from a cache; the gain is adaptive over shorter-queue in
turns/s, and in median TTFT (below 1 is better), within one run.  Agents think between turns; the
longer they do, the more of others' KV is kept in between.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from typing import Any

RATIOS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
THINK = ("0s", "10s")
PAYS = 1.02  # a gain in turns/s below this is noise


def run(out: str, settings: list[str]) -> dict[str, Any]:
    """One `testbed run`; the object that it prints."""
    options = [part for change in settings for part in ("--set", change)]
    command = [sys.executable, "-m", "testbed.cli.main", "run", "demo", "--json"]
    done = subprocess.run(
        [*command, "--out", out, *options], stdout=subprocess.PIPE, text=True, check=False
    )
    found: dict[str, Any] = json.loads(done.stdout)
    if "error" in found:
        raise SystemExit(f"{' '.join(settings)}: {found['error']['message']}")
    return found


def measure(
    preset: str, think: str, ratios: list[float], changes: list[str], out: str
) -> list[dict[str, Any]]:
    """All cache sizes at one think time."""
    common = [
        f"topology.name={preset}",
        "engines=network-only",
        f"workload.think_time={think}",
        *changes,
    ]
    probed = run(out, [*common, "policies=[shorter-queue]"])
    working_set = probed["policies"]["shorter-queue"]["storage"]["working_set_bytes"]
    nodes = int(preset.partition("p")[2].partition("d")[0])
    rows = []
    for ratio in ratios:
        real = math.ceil(ratio * working_set * probed["scale"]["bytes_realised"] / nodes)
        found = run(out, [*common, "policies=[shorter-queue, adaptive]", f"cache.capacity={real}B"])
        rows.append(row(think, ratio, found))
    return rows


def row(think: str, ratio: float, found: dict[str, Any]) -> dict[str, Any]:
    """What one cache size came to."""
    seen = found["policies"]["adaptive"]
    cache, base = seen["cache"], found["policies"]["shorter-queue"]
    shares = [cache["own_share"], cache["other_share"]] if cache else [0.0, 0.0]
    ttft_s = [policy["ttft_s"]["p50"] for policy in (seen, base)]
    return {
        "think": think,
        "asked_ratio": ratio,
        "ratio": cache["capacity_bytes"] / seen["storage"]["working_set_bytes"] if cache else 0.0,
        "hit_rate": sum(share or 0.0 for share in shares),
        "own_share": shares[0],
        "other_share": shares[1],
        "turns_gain": found["speedup"]["adaptive"]["turns_per_s"],
        "ttft_ratio": ttft_s[0] / ttft_s[1] if all(ttft_s) else None,
        "missed": cache["missed"] if cache else 0,
        "prediction_error": seen["prediction_error"],
        "verdict": found["verdict"],
        "reasons": found["reasons"],
    }


def pays_from(rows: list[dict[str, Any]]) -> float | None:
    """The smallest ratio from which on every larger one gains; None if the largest does not."""
    found = None
    for each in sorted(rows, key=lambda each: -each["asked_ratio"]):
        if each["turns_gain"] is None or each["turns_gain"] < PAYS:
            break
        found = each["asked_ratio"]
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--ratio", type=float, action="append")
    parser.add_argument("--think", action="append")
    parser.add_argument("--preset", default="1p2d", choices=["1p1d", "1p2d", "2p4d"])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args()
    ratios = told.ratio or list(RATIOS)
    with tempfile.TemporaryDirectory() as out:
        rows = {
            think: measure(told.preset, think, ratios, told.set, out)
            for think in told.think or THINK
        }
    pays = {think: pays_from(found) for think, found in rows.items()}
    if told.json:
        print(json.dumps({"rows": rows, "pays_from_ratio": pays}, indent=2))
        return
    for think, found in rows.items():
        for each in found:
            print(
                f"think {think:>4}  cache/working set {each['ratio']:5.2f}  "
                f"hit rate {each['hit_rate']:6.1%}  turns/s ×{each['turns_gain'] or 0:.2f}  "
                f"TTFT ×{each['ttft_ratio'] or 0:.2f}  {each['verdict']}"
            )
        print(f"think {think:>4}  pays from {pays[think] or 'no measured size on'}")


if __name__ == "__main__":
    main()
