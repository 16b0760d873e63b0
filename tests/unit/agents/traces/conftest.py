"""Where recorded traces are, for the tests that replay them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
def recorded_traces() -> Path:
    """The directory of recorded traces; skips where there is none."""
    directory = Path(os.environ.get("TESTBED_TRACES") or ROOT.parent / "shared" / "traces")
    if not directory.is_dir():
        pytest.skip("no recorded traces: set TESTBED_TRACES to their directory")
    return directory
