"""The doctor's findings on the machine at hand: complete, and without a trace."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from testbed.kernel.features import features


def check() -> None:
    devices = Path("/proc/net/dev").read_text()
    found = {feature.name: feature for feature in features()}
    # These tests run here, so the machine can do what they need.
    assert all(f.present for f in found.values() if f.required), found
    assert {"namespaces", "domains", "HTB", "IFB", "redirects", "qdisc netem"} <= found.keys()
    for feature in found.values():
        assert feature.needed_for
        assert bool(feature.detail) == bool(feature.remedy) == (not feature.present)
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
