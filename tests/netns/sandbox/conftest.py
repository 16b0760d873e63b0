"""Testbeds in a runtime directory of their own, which must be empty in the end."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.lab import Lab
from topologies.single import SingleTopo


@pytest.fixture(scope="package", autouse=True)
def runtime() -> Iterator[Path]:
    base = tempfile.mkdtemp(prefix="tb-")  # short: it is part of a socket's path
    before = os.environ.get("XDG_RUNTIME_DIR")
    os.environ["XDG_RUNTIME_DIR"] = base
    yield Path(base) / "testbed"
    left = list((Path(base) / "testbed").iterdir())
    shutil.rmtree(base)
    if before is None:
        del os.environ["XDG_RUNTIME_DIR"]
    else:
        os.environ["XDG_RUNTIME_DIR"] = before
    assert left == []


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """h1 ── s1 ── h2"""
    with Lab(SingleTopo(k=2)) as made:
        yield made
