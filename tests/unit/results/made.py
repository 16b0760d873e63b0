"""Run directories with given figures, written as the runner writes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from testbed.fidelity.checks import Check
from testbed.fidelity.verdict import judge
from testbed.results import layout
from testbed.results.writer import write_json, write_tables

SCENARIO: dict[str, Any] = {
    "name": "made", "description": "", "plugin": "dualpath", "seed": 1,
    "topology": {"name": "1p1d", "set": {"gpus": 2}}, "scale": {"rate": 2000.0, "bytes": 1000.0},
    "arbitration": "fair", "workload": {"agents": 8, "arrivals": None},
    "policies": ["pe-only", "shorter-queue"],
}  # fmt: skip
Figures = Mapping[str, Mapping[str, Any]]


class Request(msgspec.Struct):
    """As much of a request as figures need."""

    t_submit: float
    t_first_token: float
    error: str = ""
    stalls_s: list[float] = []


def make_run(
    path: Path,
    policies: Figures,
    *,
    seed: int = 1,
    ok: bool = True,
    scenario: Mapping[str, Any] = SCENARIO,
    **said: Any,
) -> Path:
    """Write a run.

    Args:
        path: its directory; made.
        policies: policy -> summary.
        ok: whether its verdict is PASS.
        scenario: what was run.
        said: more of run.json.
    """
    path.mkdir(parents=True)
    requests = {name: [Request(1.0, 1.5), Request(1.2, 1.9, stalls_s=[0.1])] for name in policies}
    write_tables(layout.table_path(path, "requests"), requests)
    check = Check("no drop", "", ok, "0 packets", "0 packets", "" if ok else "queues")
    write_json(path / layout.VERDICT, judge([check]))
    windows = {name: [1.0, 2.0] for name in policies}
    document = {
        "layout_version": layout.LAYOUT_VERSION,
        "seed": seed,
        "interrupted": False,
        "started": "2026-11-25T10:00:00+00:00",
        "ended": "2026-11-25T10:00:20+00:00",
        "scenario": {**scenario, "seed": seed},
        "comparison": {"speedup": {name: {"load_bps": 1.0} for name in policies}},
        "policies": {
            name: {"summary": summary, "window_s": windows[name]}
            for name, summary in policies.items()
        },
    }
    write_json(path / layout.RUN, document | said)
    return path


def make_set(
    path: Path,
    runs: Mapping[int, Figures],
    *,
    scenario: Mapping[str, Any] = SCENARIO,
    asked: int | None = None,
    **said: Any,
) -> Path:
    """Write a set of runs.

    Args:
        path: its directory; made.
        runs: seed -> policy -> summary.
        asked: runs that there were to be, if not all are there.
        said: of every run, as for `make_run`.
    """
    path.mkdir(parents=True)
    seeds = [*runs, *range(9001, 9001 + (asked or len(runs)) - len(runs))]
    repeats = [{"number": n, "seed": seed, "order": []} for n, seed in enumerate(seeds, start=1)]
    document = {"layout_version": layout.LAYOUT_VERSION, "scenario": scenario, "repeats": repeats}
    write_json(path / layout.SET, document)
    for number, (seed, policies) in enumerate(runs.items(), start=1):
        make_run(path / f"2026-made-{number}", policies, seed=seed, scenario=scenario, **said)
    return path
