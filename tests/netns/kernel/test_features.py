"""The doctor's findings on the machine at hand: complete, and without a trace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.kernel.features import features
from tests.netns.sandbox.traces import wait_until


def check() -> None:
    devices = Path("/proc/net/dev").read_text()
    found = {feature.name: feature for feature in features()}
    # These tests run here, so the machine can do what they need.
    assert all(f.present for f in found.values() if f.required), found
    assert {"namespaces", "domains", "HTB", "IFB", "redirects", "qdisc netem"} <= found.keys()
    for feature in found.values():
        assert feature.needed_for
        assert bool(feature.detail) == bool(feature.remedy) == (not feature.present)
        assert feature.tried
    assert not found.get("qdisc fq_codel", found["HTB"]).required
    assert Path("/proc/net/dev").read_text() == devices


@pytest.mark.user
def test_everything_that_is_required_is_found() -> None:
    check()


@pytest.mark.as_user
def test_also_by_an_ordinary_user() -> None:
    check()


def test_no_process_is_left() -> None:
    features()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_ctrl_c_ends_it_without_tracebacks_of_its_processes() -> None:
    doctor = subprocess.Popen(
        [sys.executable, "-m", "testbed.cli.main", "doctor"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    wait_until(lambda: bool(_children(doctor.pid)))
    wait_until(lambda: any(_children(child) for child in _children(doctor.pid)))
    os.killpg(doctor.pid, signal.SIGINT)
    _, err = doctor.communicate(timeout=30)
    assert (doctor.returncode, err) == (130, "testbed: interrupted\n")


def _children(pid: int) -> list[int]:
    """Of the main thread, see proc(5); none if it has ended."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except FileNotFoundError:
        return []
    return [int(word) for word in text.split()]
