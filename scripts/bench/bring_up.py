"""How long it takes until an emulated network is up, and gone, beside the usual ways of making it.

    python -m scripts.bench.bring_up [--hosts 200] [--json]

- A star of 200 hosts and 200 shaped links: this testbed `applied` (compile, apply) and `verified`
  (the same, then read back and compared), the same kernel objects by `ip`, `bridge` and
  `tc -batch`, and Mininet's TCLink on a Linux bridge (Debian's package; left out, and said, where
  it is missing).  All in one run, in turns, medians.  Targets: 15 times faster than Mininet, at
  most 3 times what the tools take.  Mininet and the tools verify nothing, so that `applied` is
  what compares with them; the ratios of `verified` are told beside it.  (Mininet makes two classes
  a link and no neighbours.)
- 2P4D with 8 GPUs a node, as a whole command: `up` within 2 s, `down` within 0.1 s, and the
  devices and queues gone from the kernel within 3 s of it (root only: a veth pair tells).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.bench.support.leash import Leash
from testbed.lab import Lab
from testbed.plan.compile import compile_plan
from testbed.plan.model import counts, encode
from topologies.single import SingleTopo

MBIT = 100.0
MININET_RATIO, BATCH_RATIO = 15.0, 3.0
UP_S, DOWN_S, GONE_S = 2.0, 0.1, 3.0
ROUNDS = 3
_QUIET_S = 3.0  # the kernel frees what the last one left behind
_DEBIAN_PYTHON = "/usr/bin/python3"
_APART = ["unshare", "--net", "--pid", "--mount", "--fork", "--mount-proc"]
NAME = "bench-bring-up"


def star_here(hosts: int, *, verify: bool) -> float:
    """Seconds until a star is up, from the topology on."""
    topology = SingleTopo(hosts, MBIT)
    began_s = time.monotonic()
    with Lab(topology, verify=verify):
        return time.monotonic() - began_s


def star_by_tools(hosts: int) -> float:
    """Seconds that iproute2's tools take for the same kernel objects."""
    with tempfile.NamedTemporaryFile(suffix=".json") as plan:
        plan.write(encode(compile_plan(SingleTopo(hosts, MBIT))))
        plan.flush()
        told = _json(
            [*_APART, sys.executable, "-m", "scripts.bench.support.run_batches", plan.name]
        )
    return float(told["seconds"])


def star_by_mininet(hosts: int) -> float:
    """Seconds that Mininet takes, from the topology on."""
    script = Path(__file__).parent / "support" / "mininet_star.py"
    inner = f'mount -t tmpfs none /tmp && exec {_DEBIAN_PYTHON} - {hosts} {MBIT} <<"END"\n'
    told = _json([*_APART, "sh", "-c", f"{inner}{script.read_text()}\nEND\n"])
    if told["shaped_hosts"] != hosts:
        raise RuntimeError(f"Mininet shaped {told['shaped_hosts']} of {hosts} hosts")
    return float(told["up_s"])


def missing() -> dict[str, str]:
    """What cannot be compared here, and why."""
    lacking = {}
    if os.geteuid():
        lacking["mininet"] = lacking["tools"] = "only root can use it"
        return lacking
    asked = subprocess.run(
        [_DEBIAN_PYTHON, "-c", "import mininet.net"], capture_output=True, check=False
    )
    if asked.returncode or not shutil.which("mnexec") or not shutil.which("brctl"):
        lacking["mininet"] = "needs Debian's packages mininet and bridge-utils"
    if not shutil.which("tc"):
        lacking["tools"] = "needs iproute2"
    return lacking


def _json(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[-1][:80]}: {done.stderr[-500:]}")
    return dict(json.loads(done.stdout))


def star(hosts: int) -> dict[str, Any]:
    """All ways in turns."""
    lacking = missing()
    ways: dict[str, Callable[[], float]] = {
        "verified": lambda: star_here(hosts, verify=True),
        "applied": lambda: star_here(hosts, verify=False),
        "tools": lambda: star_by_tools(hosts),
        "mininet": lambda: star_by_mininet(hosts),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways if way not in lacking}
    for _ in range(ROUNDS):
        for way in seconds:
            time.sleep(_QUIET_S)
            seconds[way].append(ways[way]())
    median = {way: statistics.median(each) for way, each in seconds.items()}
    ratios = {}
    for ours in ("verified", "applied"):
        if "mininet" in median:
            ratios[f"mininet / {ours}"] = median["mininet"] / median[ours]
        if "tools" in median:
            ratios[f"{ours} / tools"] = median[ours] / median["tools"]
    met = {
        "mininet": ratios.get("mininet / applied", 0.0) >= MININET_RATIO,
        "tools": ratios.get("applied / tools", BATCH_RATIO + 1) <= BATCH_RATIO,
    }
    objects = counts(compile_plan(SingleTopo(hosts, MBIT))).total()
    return {
        "hosts": hosts,
        "kernel_objects": objects,
        "seconds": seconds,
        "median_s": median,
        "ratios": ratios,
        "left_out": lacking,
        "ok": all(met.values()),
    }


def command(*arguments: str) -> tuple[float, str]:
    """A whole `testbed` command: its seconds and what it printed."""
    began_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "testbed.cli.main", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return time.monotonic() - began_s, done.stdout


def preset() -> dict[str, Any]:
    """2P4D up and down as commands."""
    rows = []
    for _ in range(ROUNDS):
        time.sleep(_QUIET_S)
        up_s, printed = command("up", "2p4d", "--name", NAME, "--json")
        leash = None
        try:
            if os.geteuid() == 0:
                with contextlib.closing(Lab.attach(NAME)) as lab:
                    leash = Leash(lab, "pe0")
        finally:
            down_s, _ = command("down", NAME)
        gone_s = None
        if leash is not None:
            gone_s = leash.seconds_until_gone(4 * GONE_S)
            leash.close()
        rows.append({"up_s": up_s, "down_s": down_s, "gone_s": gone_s, **json.loads(printed)})
    worst = {
        key: max(row[key] for row in rows) if all(row[key] is not None for row in rows) else None
        for key in ("up_s", "down_s", "gone_s")
    }
    bounds = {"up_s": UP_S, "down_s": DOWN_S, "gone_s": GONE_S}
    # Only root sees when the cluster is gone; what was not seen is null in `worst`.
    ok = all((found := worst[key]) is None or found <= bound for key, bound in bounds.items())
    return {"rows": rows, "worst": worst, "ok": ok}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--hosts", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args()
    result = {"2p4d": preset(), "star": star(told.hosts)}
    if told.json:
        print(json.dumps(result, indent=2))
    else:
        for row in result["2p4d"]["rows"]:
            gone = "unknown" if row["gone_s"] is None else f"{row['gone_s']:.2f} s"
            print(f"2p4d: up {row['up_s']:.2f} s, down {row['down_s']:.3f} s, gone after {gone}")
        found = result["star"]
        print(f"star of {found['hosts']} hosts, {found['kernel_objects']} kernel objects")
        for way, seconds in found["seconds"].items():
            print(f"  {way:<9} {' '.join(f'{each:.2f}' for each in seconds)} s")
        for name, ratio in found["ratios"].items():
            print(f"  {name}: {ratio:.2f}")
        for way, why in found["left_out"].items():
            print(f"  {way} left out: {why}")
    sys.exit(0 if all(part["ok"] for part in result.values()) else 1)


if __name__ == "__main__":
    main()
