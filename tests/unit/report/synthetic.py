"""Run directories as a run would leave them, made of simple numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from testbed.fidelity.checks import Check
from testbed.fidelity.machine_checks import MACHINE, TIMERS
from testbed.fidelity.verdict import Verdict
from testbed.results import layout
from testbed.results.writer import write_json

STARTED_S = 100.0
WINDOW_S = (101.0, 104.0)
SAMPLES = 50
LINE_BPS = 100_000_000
POLICIES = ("pe-only", "shorter-queue")

# pe0 -- storage -- de0, one engine each
SERVING = (
    ("pe0/snic0", "snic", "pe0", "prefill", "in", 0.99),
    ("pe0/snic0", "snic", "pe0", "prefill", "out", 0.0),
    ("pe0/cnic0", "cnic", "pe0", "prefill", "read", 0.6),
    ("pe0/cnic0", "cnic", "pe0", "prefill", "write", 0.3),
    ("de0/snic0", "snic", "de0", "decode", "in", 0.5),
    ("de0/snic0", "snic", "de0", "decode", "out", 0.02),
    ("de0/cnic0", "cnic", "de0", "decode", "read", 0.4),
    ("de0/cnic0", "cnic", "de0", "decode", "write", 0.8),
    ("st0/snic0", "snic", "st0", "storage", "in", 0.02),
    ("st0/snic0", "snic", "st0", "storage", "out", 0.99),
)
# h1 -- s1 -- h2
PLAIN = (
    ("h1/h1-eth0", "link", "h1", "host", "out", 0.98),
    ("h1/h1-eth0", "link", "h1", "host", "in", 0.1),
    ("h2/h2-eth0", "link", "h2", "host", "out", 0.1),
    ("h2/h2-eth0", "link", "h2", "host", "in", 0.98),
)


def nics(
    meters: Sequence[tuple[str, str, str, str, str, float]] = SERVING,
    policies: Sequence[str] = POLICIES,
    samples: int = SAMPLES,
) -> pl.DataFrame:
    """The table of counters: every NIC uses its share of the line, from beginning to end."""
    rows = [
        {
            "policy": policy,
            "t_s": STARTED_S + 0.1 * step,
            "nic": nic,
            "kind": kind,
            "node": node,
            "role": role,
            "direction": direction,
            "rate_bps": LINE_BPS,
            "lane": "all",
            "bytes": round(share * LINE_BPS / 8 * 0.1 * step),
            "packets": step,
            "drops": 0,
            "backlog_bytes": step * 100,
        }
        for policy in policies
        for step in range(samples)
        for nic, kind, node, role, direction, share in meters
    ]
    return pl.DataFrame(rows)


def requests(policies: Sequence[str] = POLICIES, count: int = 40) -> pl.DataFrame:
    """The table of requests: each longer than the one before; one failed, one tried twice."""
    rows = []
    for policy in policies:
        for number in range(count):
            began_s = STARTED_S + 4.0 * number / count
            unit_s = 0.001 * (number + 1)
            moments = {
                name: began_s + unit_s * part
                for name, part in (
                    ("t_scheduled", 1),
                    ("t_allocated", 2),
                    ("t_read_start", 4),
                    ("t_read_end", 8),
                    ("t_prefill_start", 9),
                    ("t_first_token", 16),
                    ("t_decode_start", 18),
                    ("t_decode_end", 20),
                    ("t_done", 21),
                )
            }
            failed = number == 3
            rows.append(
                {
                    "policy": policy,
                    "request": number,
                    "agent": number % 4,
                    "turn": number // 4,
                    "path": "pe" if number % 2 else "de",
                    "prompt_tokens": 1000,
                    "hit_tokens": 900,
                    "t_submit": began_s,
                    **(dict.fromkeys(moments, 0.0) if failed else moments),
                    "stall_s": 3 * unit_s,
                    "attempts": 2 if number == 5 else 1,
                    "error": "a read <failed>" if failed else "",
                }
            )
    return pl.DataFrame(rows)


def machine(policies: Sequence[str] = POLICIES) -> pl.DataFrame:
    """The table of the machine."""
    return pl.DataFrame(
        [
            {
                "policy": policy,
                "t_s": STARTED_S + 0.2 * step,
                "cpu_share": 0.4,
                "softirq_share": 0.1,
                "lag_s": 0.001,
            }
            for policy in policies
            for step in range(SAMPLES // 2)
        ]
    )


def loop_lags(policies: Sequence[str] = POLICIES) -> pl.DataFrame:
    """The table of lateness: two programs, of which the second is the later one each time."""
    return pl.DataFrame(
        [
            {"policy": policy, "process": process, "t_s": STARTED_S + 0.05 * step, "lag_s": late}
            for policy in policies
            for step in range(2 * SAMPLES)
            for process, late in (("pe0", 0.001), ("de0", 0.003))
        ]
    )


def events(policy: str) -> pl.DataFrame:
    """The table of events: a failed read, and a fault that is noticed two seconds later."""
    known = (
        (1.0, "pe0", "failed", "a <read>"),
        (3.5, "sched", "node-lost", "de0: not a <word>"),
        (1.5, "de0", "fault", "stop"),
    )
    return pl.DataFrame(
        [
            {
                "policy": policy, "process": process, "t_s": STARTED_S + at, "kind": kind,
                "detail": detail, "request": 3,
            }
            for at, process, kind, detail in known
        ]
    )  # fmt: skip


def summary() -> dict[str, Any]:
    """The figures of one policy."""
    return {
        "kv_load_bps": 8e7,
        "kv_load_bps_full_scale": 1.6e11,
        "turns_per_s": 9.0,
        "bound_by": "storage",
        "window_s": list(WINDOW_S),
        "nic_loads": [
            {"nic": "pe-snic-in", "measured_bps": 1e6, "formula_bps": 0.0, "ratio": None}
        ],
        "round_trip_s": {"snic kv": {"p50": 0.01, "p99": 0.02, "mean": 0.01, "least": 1e-5}},
        "ttft_s": {"p50": 0.5, "p99": None, "mean": 0.5},
        "storage": {"capacity_bytes": 1 << 20, "stored_bytes": 1 << 10},
    }


def run(policies: Sequence[str] = POLICIES, workload: str = "dualpath") -> dict[str, Any]:
    """What run.json holds of a run of agents."""
    predicted = {"turns_per_s": 10.0, "kv_load_bps": 1e8, "speedup": 2.0, "bound_by": "storage"}
    return {
        "layout_version": layout.LAYOUT_VERSION,
        "name": "synthetic",
        "started": "2026-01-01T00:00:00+00:00",
        "ended": "2026-01-01T00:01:00+00:00",
        "interrupted": False,
        "seed": 1,
        "scenario": {"description": "a <b>bold</b> question", "plugin": workload},
        "command": ["testbed", "run", "synthetic", "--set", "policies=[pe-only, x]"],
        "versions": {"python": "3.11"},
        "kernel": {"release": "6", "architecture": "x"},
        "machine": {
            "cpu_model": "x", "cores": 2, "memory_bytes": 1 << 30, "load_average": [0.1, 0.1, 0.1]
        },
        "git": None,
        "topology": {"name": "1p1d", "parameters": {}, "domains": 4, "meters": 10},
        "calibration": {
            "took_s": 1.5,
            "cpu_share": 0.4,
            "links": [
                {
                    "kind": "snic", "role": "prefill", "direction": "in", "rate_bps": LINE_BPS,
                    "nic": "pe0/snic0", "reached_bps": 99.5e6, "counted_share": 1.0,
                    "least_bps": 97e6, "most_bps": 103e6, "round_trip_s": 2e-5, "note": "",
                }
            ],
        },
        "predicted": {"policies": dict.fromkeys(policies, predicted), "agents": 4},
        "comparison": {
            "engines": "network-only",
            "scale": {"rate": 4000.0, "bytes": 2000.0, "stretch": 2.0},
            "speedup": {name: {"kv_load_bps": 1.25} for name in policies},
            "bytes_verified": 1 << 30,
            "caps_turns_per_s": {"pe-snics": 9.8434, "decode-hbm": None},
            "modelled_caps_turns_per_s": {"pe-snics": 9.8434, "decode-hbm": 4.566},
            "modelled_speedup": dict.fromkeys(policies, 1.75),
        },
        "policies": {
            name: {"summary": summary(), "window_s": list(WINDOW_S), "started_s": STARTED_S}
            for name in policies
        },
    }  # fmt: skip


def write(path: Path, policies: Sequence[str] = POLICIES, *, believed: bool = True) -> Path:
    """The directory of a run of agents.

    Args:
        path: of the directory; made.
        believed: else the verdict is FAIL.
    """
    path.mkdir(exist_ok=True, parents=True)
    write_json(path / layout.RUN, run(policies))
    checks = [
        Check("no drop", name, believed, "0 packets" if believed else "3 packets", "0", "")
        for name in policies
    ]
    checks += [
        Check(
            "loop lag",
            name,
            True,
            "p99 3ms (de0)",
            "p99 ≤ 5% of 100ms",
            "",
            limits={"mean_s": 0.001, "p99_s": 0.005},
        )
        for name in policies
    ]
    checks += [
        Check(MACHINE, name, True, "50%", "≤ 85% of all cores", "", limits={"cpu_share": 0.85})
        for name in policies
    ]
    checks += [
        Check(TIMERS, name, True, "p99 1ms", "p99 ≤ 50ms", "", limits={"p99_s": 0.05})
        for name in policies
    ]
    reasons = [] if believed else ["3 packets dropped <script>alert(1)</script>"]
    status = "PASS" if believed else "FAIL"
    write_json(
        path / layout.VERDICT,
        {"status": status, "reasons": reasons, "checks": checks, "remarks": ["full <b>"]},
    )
    nics(policies=policies).write_parquet(layout.table_path(path, "nics"))
    requests(policies).write_parquet(layout.table_path(path, "requests"))
    machine(policies).write_parquet(layout.table_path(path, "machine"))
    loop_lags(policies).write_parquet(layout.table_path(path, "loop_lags"))
    events(policies[0]).write_parquet(layout.table_path(path, "events"))
    return path


def write_plain(path: Path) -> Path:
    """The directory of a run without agents: flows on h1 -- s1 -- h2, of no known workload."""
    path.mkdir(exist_ok=True, parents=True)
    content = run(["fair"], workload="flows")
    summary = {"goodput_bps": 9.7e7, "window_s": list(WINDOW_S)}
    content |= {
        "predicted": {},
        "comparison": {},
        "policies": {"fair": {"summary": summary, "started_s": STARTED_S}},
        "topology": {"name": "single", "links": [["h1", "s1"], ["h2", "s1"]]},
    }
    write_json(path / layout.RUN, content)
    check = Check("no drop", "fair", True, "0 packets", "0", "")
    write_json(path / layout.VERDICT, Verdict("PASS", [], [check]))
    nics(PLAIN, ["fair"]).write_parquet(layout.table_path(path, "nics"))
    return path
