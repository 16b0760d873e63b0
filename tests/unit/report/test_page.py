"""The page of a synthetic run: self-contained, verdict first, figures present."""

from __future__ import annotations

import json
import re
from pathlib import Path

import polars as pl
import pytest

from testbed.errors import NotFoundError, UsageError
from testbed.fidelity.checks import Check
from testbed.fidelity.verdict import Verdict
from testbed.report.page import write_report
from testbed.results import layout
from testbed.results.writer import write_json


def _nics() -> pl.DataFrame:
    rows = [
        {
            "policy": "<first>",
            "t_s": 0.1 * step,
            "nic": f"pe{node}/snic0",
            "kind": "snic",
            "node": f"pe{node}",
            "role": "prefill",
            "direction": "in",
            "rate_bps": 100_000_000,
            "lane": "all",
            "bytes": 1_000_000 * step,
            "packets": 100 * step,
            "drops": 0,
            "backlog_bytes": 0,
        }
        for step in range(50)
        for node in range(2)
    ]
    return pl.DataFrame(rows)


@pytest.fixture
def run_directory(tmp_path: Path) -> Path:
    load = {"nic": "pe-snic-in", "measured_bps": 1.0, "formula_bps": 0.0, "ratio": None}
    summary = {
        "kv_load_bps": 8e7,
        "kv_load_bps_full_scale": 1.6e11,
        "bound_by": "storage",
        "window_s": [1.0, 4.0],
        "nic_loads": [load],
        "ttft_s": {"p50": 0.5, "p99": None},
    }
    write_json(
        tmp_path / layout.RUN,
        {
            "layout_version": layout.LAYOUT_VERSION,
            "name": "synthetic",
            "started": "2026-01-01T00:00:00+00:00",
            "interrupted": False,
            "seed": 1,
            "scenario": {"description": "a <b>bold</b> question"},
            "command": ["testbed", "run", "synthetic"],
            "versions": {"python": "3.11"},
            "kernel": {"release": "6"},
            "machine": {"cpu_model": "x", "cores": 2, "load_average": [0.1, 0.1, 0.1]},
            "git": None,
            "predicted": {
                "policies": {"<first>": {"kv_load_bps": 1e8, "speedup": 1.0, "bound_by": "storage"}}
            },
            "comparison": {
                "engines": "network-only",
                "speedup": {"<first>": {"kv_load_bps": 1.0}},
                "bytes_verified": 1 << 30,
                "caps_turns_per_s": {"pe-snics": 9.8434, "decode-hbm": None},
                "modelled_caps_turns_per_s": {"pe-snics": 9.8434, "decode-hbm": 4.566},
                "modelled_speedup": {"<first>": 1.25},
            },
            "policies": {"<first>": {"summary": summary}},
        },
    )
    check = Check("no drop", "<first>", False, "3 drops", "0", "pe0/snic0 in dropped 3")
    write_json(
        tmp_path / layout.VERDICT, Verdict("FAIL", ["3 drops <script>"], [check], ["full <b>"])
    )
    _nics().write_parquet(layout.table_path(tmp_path, "nics"))
    return tmp_path


def test_the_page_says_what_matters_and_nothing_comes_from_outside(run_directory: Path) -> None:
    page = write_report(run_directory).read_text()
    assert page.index("FAIL") < page.index("The answer")
    assert "network-only engines" in page
    assert "1GiB verified" in page
    assert page.count("<svg") == 2
    assert page.count("1.25×") == 3
    assert '<td>decode-hbm</td><td class="n">–</td><td class="n">4.566/s</td>' in page
    assert "160Gbit/s" in page
    assert "window" not in page.split("All figures")[1].split("Checks")[0]
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", page)
    assert "<script>" not in page
    assert "full &lt;b&gt;" in page
    assert "<b>bold</b>" not in page
    assert {file.name for file in (run_directory / layout.FIGURES).iterdir()} == {
        "nic_timelines.svg",
        "nic_utilisation.svg",
    }


def test_a_run_without_a_window_has_a_page(run_directory: Path) -> None:
    """Warnings are errors: a figure without anything in it must not ask for a legend."""
    file = run_directory / layout.RUN
    run = json.loads(file.read_text())
    run["policies"]["<first>"]["summary"] |= {"window_s": None, "kv_load_bps": None}
    write_json(file, run)
    assert write_report(run_directory).read_text().count("<svg") == 2


def test_a_run_that_may_not_be_written_to_is_said(run_directory: Path) -> None:
    (run_directory / layout.REPORT).mkdir()
    with pytest.raises(UsageError, match="cannot be written"):
        write_report(run_directory)


def test_a_directory_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        write_report(tmp_path)
