"""A quota on processors, set for real, turns the verdict.

h1 -- s1 -- h2, 50 Mbit
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.kernel import cgroups

ROOT = Path(__file__).resolve().parents[3]
PERIOD_US = 100_000
QUOTA_US = PERIOD_US // 4  # of one processor: less than what is left where others run as well


@contextlib.contextmanager
def a_quarter(above: Path) -> Iterator[Path]:
    """A cgroup below another, of either version, with a quota; gone in the end."""
    cgroup = above / f"testbed-{os.getpid()}"
    try:
        cgroup.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    try:
        if (cgroup / "cpu.cfs_quota_us").exists():  # version 1
            (cgroup / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (cgroup / "cpu.cfs_quota_us").write_text(str(QUOTA_US))
        elif (cgroup / "cpu.max").exists():
            (cgroup / "cpu.max").write_text(f"{QUOTA_US} {PERIOD_US}")
        else:
            pytest.skip("the cgroup above gives no processors to those below")
        yield cgroup
    finally:
        deadline_s = time.monotonic() + 10
        while (cgroup / "cgroup.procs").read_text() and time.monotonic() < deadline_s:
            time.sleep(0.01)  # those that were killed are still on their way out
        cgroup.rmdir()


def test_a_cpu_quota_turns_the_verdict(tmp_path: Path, runtime_directory: Path) -> None:
    places = cgroups.mine("cpu")
    if not places:
        pytest.skip("this process is in no cgroup that can be seen")
    with a_quarter(places[0]) as cgroup:
        done = subprocess.run(
            [sys.executable, "-m", "tests.netns.fidelity.throttled", str(cgroup), str(tmp_path)],
            cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
            check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["failed"]["not throttled"] == "a cgroup limits this process: lift its cpu quota"
    # A prediction would have refused it: what is carried is measured by what there is.
    assert found["cores"] == QUOTA_US / PERIOD_US
