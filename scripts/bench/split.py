"""When one request read on both sides at once is quicker: TTFT of `split` over `shorter-queue`.

    python -m scripts.bench.split [--only light-long] [--rounds 3] [--set duration=15s] [--json]

Each load is a whole `testbed run` of both policies, with the same sessions on fresh clusters of
1P1D, the network alone.  Light load: two agents; heavy: so many that requests always wait.  Long
contexts: the 64K agent trace; short: the 32K one at a tenth of its lengths.  The ratio is of
medians in one run, and of several rounds the median counts.  A split should win where a NIC would
else stand idle (light load) and where reading is what a request waits for (long contexts).  Under
heavy load both keep all NICs busy, and a short read is over before its messages pay.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from typing import Any

POLICIES = ("shorter-queue", "split")
LONG = {"trace": "64k"}
SHORT = {"trace": "32k", "append_scale": "0.1", "generation_scale": "0.1"}
LOADS = {
    "light-long": {"agents": "2", **LONG},
    "light-short": {"agents": "2", **SHORT},
    "heavy-long": {"agents": "auto", **LONG},
    "heavy-short": {"agents": "auto", **SHORT},
}


def measure(load: dict[str, str], changes: list[str], out: str) -> dict[str, Any]:
    """One run of both policies: median TTFT and read shares of each, and their ratio."""
    settings = [
        "topology.name=1p1d",
        "engines=network-only",
        f"policies=[{', '.join(POLICIES)}]",
        *(f"workload.{key}={value}" for key, value in load.items()),
        *changes,
    ]
    options = [part for change in settings for part in ("--set", change)]
    command = [sys.executable, "-m", "testbed.cli.main", "run", "demo", "--json"]
    done = subprocess.run(
        [*command, "--out", out, *options], stdout=subprocess.PIPE, text=True, check=False
    )
    found = json.loads(done.stdout)
    if "error" in found:
        return {"error": found["error"]["message"]}
    seen = found["policies"]
    ttft_s = {policy: seen[policy]["ttft_s"]["p50"] for policy in POLICIES}
    if not all(ttft_s.values()):
        return {"error": "no request came to its first token in the window"}
    return {
        "verdict": found["verdict"],
        "reasons": found["reasons"],
        "ttft_s": ttft_s,
        "ttft_ratio": ttft_s["split"] / ttft_s["shorter-queue"],
        "kv_load_ratio": seen["split"]["kv_load_bps"] / seen["shorter-queue"]["kv_load_bps"],
        "prediction_error": {policy: seen[policy]["prediction_error"] for policy in POLICIES},
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=list(LOADS), action="append")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args()
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as out:
        for name in told.only or LOADS:
            rounds = [measure(LOADS[name], told.set, out) for _ in range(told.rounds)]
            ratios = [each["ttft_ratio"] for each in rounds if "ttft_ratio" in each]
            rows[name] = {
                "ttft_ratio": statistics.median(ratios) if ratios else None,
                "rounds": rounds,
            }
    if told.json:
        print(json.dumps(rows, indent=2))
    else:
        for name, row in rows.items():
            said = "; ".join(each.get("error", each.get("verdict", "")) for each in row["rounds"])
            ratio = row["ttft_ratio"]
            shown = "-" if ratio is None else f"{ratio:.2f}"
            print(f"{name:<12} TTFT of split over shorter-queue {shown}  ({said})")
    sys.exit(0 if all(row["ttft_ratio"] is not None for row in rows.values()) else 1)


if __name__ == "__main__":
    main()
