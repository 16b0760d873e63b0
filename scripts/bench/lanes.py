"""What a virtual lane is worth: small messages beside bulk on the same CNICs.

    python -m scripts.bench.lanes [--json]

Round trips of 4 KiB between two engines' HBM while four bulk flows fill the same line in the kv
lane: in the model lane, in the kv lane with the bulk, and on an idle line.  Targets: in the
model lane the median is below that beside the bulk in one lane, and with bulk at least 95 % of
the line are in use.

    pe0g0 ── cnic ══ compute fabric ══ cnic ── de0g0
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from scripts.bench.support.loads import Port, Sender, loaded
from testbed.lab import Lab
from testbed.plan.lanes import KV_TOS, MODEL_TOS
from testbed.units import show_rate
from topologies.dualpath import DualPathTopo

RATES_MBIT = (100.0, 500.0)
FLOWS = 4
SECONDS, SETTLE_S = 5.0, 1.5
BULK_SHARE = 0.95
_ROOT = str(Path(__file__).resolve().parents[2])


def _ping_pong(lab: Lab, tos: int) -> list[float]:
    module = [sys.executable, "-m", "scripts.bench.support.ping_pong"]
    near, far = (lab[name].addresses["cnic0"] for name in ("pe0g0", "de0g0"))
    server = lab["de0g0"].popen([*module, "server", "--bind", far, "--tos", str(tos)], cwd=_ROOT)
    assert server.stdout is not None
    server.stdout.readline()
    told = lab["pe0g0"].run(
        [*module, "client", "--to", far, "--bind", near, "--tos", str(tos),
         "--seconds", str(SECONDS)],
        cwd=_ROOT, timeout=SECONDS + 60, check=True,
    )  # fmt: skip
    server.close()
    return [float(each) for each in json.loads(told.stdout)]


@contextmanager
def _bulk(lab: Lab) -> Iterator[None]:
    """Four flows in the kv lane, the way the ping-pong's requests go."""
    bulk = [Sender(Port("pe0g0", "cnic0"), FLOWS, KV_TOS)]
    with loaded(lab, bulk, Port("de0g0", "cnic0"), settle_s=0.0, seconds=3600.0):
        time.sleep(SETTLE_S)
        yield


def _case(lab: Lab, tos: int, *, bulk: bool) -> dict[str, Any]:
    def sent() -> tuple[float, int]:
        (found,) = (m for m in lab.counters() if (m.nic, m.direction) == ("pe0/cnic0", "read"))
        return found.t_s, found.bytes

    with _bulk(lab) if bulk else ExitStack():
        before_s, before = sent()
        times = sorted(_ping_pong(lab, tos))
        after_s, after = sent()
    return {
        "round_trips": len(times),
        "p50_s": statistics.median(times),
        "p99_s": times[int(0.99 * (len(times) - 1))],
        "line_bps": (after - before) * 8 / (after_s - before_s),
    }


def compare(mbit: float) -> dict[str, Any]:
    """Idle, with lanes, without, on lines of one rate."""
    with Lab(DualPathTopo(gpus=1, cnic_mbit=mbit)) as lab:
        cases = {
            "idle": _case(lab, MODEL_TOS, bulk=False),
            "own lane": _case(lab, MODEL_TOS, bulk=True),
            "one lane": _case(lab, KV_TOS, bulk=True),
        }
    with_bulk = [cases[name]["line_bps"] for name in ("own lane", "one lane")]
    return {
        "line_bps": mbit * 1e6,
        "cases": cases,
        "ok": cases["own lane"]["p50_s"] < cases["one lane"]["p50_s"]
        and min(with_bulk) >= BULK_SHARE * mbit * 1e6,
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args()
    rows = [compare(mbit) for mbit in RATES_MBIT]
    if told.json:
        print(json.dumps(rows, indent=2))
    else:
        for row in rows:
            for name, case in row["cases"].items():
                print(
                    f"{show_rate(row['line_bps'])}/s {name:<8}: p50 {case['p50_s'] * 1e3:.2f} ms, "
                    f"p99 {case['p99_s'] * 1e3:.2f} ms ({case['round_trips']} round trips, "
                    f"the line carried {show_rate(case['line_bps'])}/s)"
                )
    sys.exit(0 if all(row["ok"] for row in rows) else 1)


if __name__ == "__main__":
    main()
