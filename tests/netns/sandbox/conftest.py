"""Testbeds in a runtime directory of their own, which must be empty in the end."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.lab import Lab
from testbed.plan.compile import compile_plan
from testbed.plan.model import Plan
from tests.netns.sandbox import bystanders, traces
from topologies.single import SingleTopo


@pytest.fixture(scope="package", autouse=True)
def runtime() -> Iterator[Path]:
    base = tempfile.mkdtemp(prefix="tb-")  # short: it is part of a socket's path
    before = os.environ.get("XDG_RUNTIME_DIR")
    os.environ["XDG_RUNTIME_DIR"] = base
    place = Path(base) / "testbed"
    yield place
    left = list(place.iterdir()) if place.exists() else []  # the first testbed makes it
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


@pytest.fixture
def tag(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Whatever is started here carries it, and has ended by the end of the test."""
    found = secrets.token_hex(8)
    monkeypatch.setenv("TESTBED_TAG", found)
    yield found
    # This process got the variable after it had started: /proc/self/environ does not show it.
    traces.wait_until_gone(found)


@pytest.fixture
def plan() -> Plan:
    return compile_plan(SingleTopo(k=2), None, name="single")


@pytest.fixture
def bystander() -> Iterator[None]:
    """A process in a network namespace of its own that is no business of ours, and lives on."""
    with bystanders.planted():
        yield
