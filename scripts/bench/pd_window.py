"""KV load inside and outside the window of P/D ratios, against the best that any split could reach.

    python -m scripts.bench.pd_window [--only 3p1d-g4] [--set duration=15s] [--json]

All SNICs can be busy where s/(g-s) <= P/D <= min{(g-2s)/s, (g-s)/(2s)} (DualPath, section 4.2);
elsewhere a compute NIC is full before they are.  Each shape is a whole `testbed run` of the network
alone; the best split is a linear program over the load table, with the run's own share of misses.
A run misses its target if its verdict is FAIL, if a load is above the best, or if storage does not
bind the shorter queue inside the window or does bind it outside.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from typing import Any, NamedTuple

from agents.caps import balanced_window

POLICIES = ("pe-only", "shorter-queue")
ABOVE_BEST = 0.01  # of the best: rounding of the window's edges


class ClusterShape(NamedTuple):
    """P prefill and D decode nodes of g engines, SNICs of s CNICs."""

    prefill: int
    decode: int
    gpus: int
    s: float

    @property
    def inside(self) -> bool:
        """All SNICs can be busy."""
        window = balanced_window(self.gpus, self.s)
        return window is not None and window[0] <= self.prefill / self.decode <= window[1]


SHAPES = {
    "1p2d-g4": ClusterShape(1, 2, 4, 1.0),
    "1p1d-g4": ClusterShape(1, 1, 4, 1.0),
    "3p1d-g4": ClusterShape(3, 1, 4, 1.0),
    "1p1d-g2": ClusterShape(1, 1, 2, 1.0),
}


def measure(name: str, changes: list[str], out: str) -> dict[str, Any]:
    """Run one shape under all policies; what came out, and whether the formula holds."""
    shape = SHAPES[name]
    settings = [
        "topology.name=dualpath",
        f"topology.set={{prefill: {shape.prefill}, decode: {shape.decode}, "
        f"gpus: {shape.gpus}, s: {shape.s:g}}}",
        "scale.rate=4000",
        f"policies=[{', '.join(POLICIES)}]",
        *changes,
    ]
    options = [part for change in settings for part in ("--set", change)]
    command = [sys.executable, "-m", "testbed.cli.main", "run", "cnic-bound", "--json"]
    done = subprocess.run(
        [*command, "--out", out, *options], stdout=subprocess.PIPE, text=True, check=False
    )
    row: dict[str, Any] = {"name": name, "inside": shape.inside, **shape._asdict()}
    found = json.loads(done.stdout)
    if "error" in found:
        return row | {"ok": False, "error": found["error"]["message"]}
    policies = {
        policy: {
            key: summary.get(key)
            for key in ("kv_load_bps", "bound_by", "best_split_bps", "gap", "path_share")
        }
        for policy, summary in found["policies"].items()
    }
    gaps = [seen["gap"] for seen in policies.values()]
    bound_by = policies["shorter-queue"]["bound_by"]
    ok = (
        found["verdict"] == "PASS"
        and all(gap is not None and gap > -ABOVE_BEST for gap in gaps)
        and (bound_by == "storage") == shape.inside
    )
    return row | {
        "ok": ok,
        "verdict": found["verdict"],
        "reasons": found["reasons"],
        "policies": policies,
    }


def lines(row: dict[str, Any]) -> list[str]:
    """A row for people."""
    where = "inside" if row["inside"] else "outside"
    if "error" in row:
        return [f"{row['name']}  {where}  {row['error']}"]
    head = f"{row['name']}  {where}  {row['verdict']} {'; '.join(row['reasons'])}".rstrip()
    shown = [head]
    for policy, seen in row["policies"].items():
        if seen["gap"] is None:
            shown.append(f"  {policy:<14} no steady window")
            continue
        shown.append(
            f"  {policy:<14} {seen['kv_load_bps'] / 1e6:7.1f} of "
            f"{seen['best_split_bps'] / 1e6:.1f} Mbit/s, gap {seen['gap']:.1%}, "
            f"bound by {seen['bound_by']}"
        )
    return shown


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=list(SHAPES), action="append")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as out:
        rows = [measure(name, told.set, out) for name in told.only or SHAPES]
    if told.json:
        print(json.dumps(rows, indent=2))
    else:
        print("\n".join(line for row in rows for line in lines(row)))
    sys.exit(0 if all(row["ok"] for row in rows) else 1)


if __name__ == "__main__":
    main()
