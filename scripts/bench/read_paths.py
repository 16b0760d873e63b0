"""Speed-up of `shorter-queue` over `pe-only`, and NIC loads against the formulae, per preset.

    python -m scripts.bench.read_paths [--only 1p1d] [--json]

Each scenario is a whole `testbed run`, both policies with the same sessions on fresh clusters.
Ideal speed-ups are (P+D)/P; on `cnic-bound` no split of the reads can pass 1.33.  Loads are
compared where storage binds.  A run whose verdict is FAIL misses its target whatever it shows.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from typing import Any, NamedTuple


class Target(NamedTuple):
    """What a scenario must reach."""

    least: float
    most: float
    ideal: float
    storage_bound: bool = True


TARGETS = {
    "demo": Target(1.9, 2.1, 2.0),
    "1p1d": Target(1.9, 2.1, 2.0),
    "2p1d": Target(1.45, 1.6, 1.5),
    "1p2d": Target(2.85, 3.1, 3.0),
    "2p4d": Target(2.85, 3.1, 3.0),
    "cnic-bound": Target(1.1, 1.36, 1.33, storage_bound=False),
}
POLICIES = "policies=[pe-only, shorter-queue]"
LOAD_TOLERANCE = 0.03
SMALL_SHARE = 0.05  # of the largest load: below it, control traffic shows


def measure(name: str, changes: list[str], out: str) -> dict[str, Any]:
    """Run a scenario; what came out, and whether it is what it must be."""
    options = [part for change in [POLICIES, *changes] for part in ("--set", change)]
    done = subprocess.run(
        [sys.executable, "-m", "testbed.cli.main", "run", name, "--json", "--out", out, *options],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    found = json.loads(done.stdout)
    if "error" in found:
        return {"name": name, "ok": False, "error": found["error"]["message"]}
    target = TARGETS[name]
    speedup = found["speedup"]["shorter-queue"]["kv_load_bps"]
    apart: dict[str, float] = {}
    for policy, summary in found["policies"].items():
        largest = max(load["formula_bps"] for load in summary["nic_loads"])
        for load in summary["nic_loads"]:
            if load["formula_bps"] > SMALL_SHARE * largest:
                apart[f"{policy} {load['nic']}"] = abs(load["ratio"] - 1)
    widest = max(apart.values(), default=0.0)
    ok = (
        found["verdict"] == "PASS"
        and target.least <= speedup <= target.most
        and (not target.storage_bound or widest <= LOAD_TOLERANCE)
    )
    return {
        "name": name,
        "ok": ok,
        "verdict": found["verdict"],
        "reasons": found["reasons"],
        "speedup": speedup,
        "target": [target.least, target.most],
        "ideal": target.ideal,
        "kv_load_mbps": {p: s["kv_load_bps"] / 1e6 for p, s in found["policies"].items()},
        "widest_load_error": widest,
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=list(TARGETS), action="append")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as out:
        rows = [measure(name, told.set, out) for name in told.only or TARGETS]
    if told.json:
        print(json.dumps(rows, indent=2))
    else:
        for row in rows:
            if "error" in row:
                print(f"{row['name']:<11} {row['error']}")
                continue
            print(
                f"{row['name']:<11} {row['speedup']:.3f} x (ideal {row['ideal']:g}, "
                f"target {row['target'][0]:g} … {row['target'][1]:g}), loads within "
                f"{row['widest_load_error']:.1%}, {row['verdict']} {'; '.join(row['reasons'])}"
            )
    sys.exit(0 if all(row["ok"] for row in rows) else 1)


if __name__ == "__main__":
    main()
