"""What all end-to-end tests share: known costs, so that no run measures the machine first."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
import time
from collections.abc import Iterator

import pytest

from agents.costing import kept
from agents.costing.costs import REFERENCE


@pytest.fixture(scope="session", autouse=True)
def _imported_for_good() -> None:
    """A run collects garbage first; all that the tests import is none, and takes long to walk."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def known_costs() -> Iterator[None]:
    """A cache of the tests' own with the reference machine's costs in it."""
    place = tempfile.mkdtemp(prefix="tb-cache-")
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = place
    costs = kept.Kept(kept.this_machine(), time.time(), REFERENCE, other_cores=0.0, spread=0.0)
    kept.write(costs, kept.directory())
    yield
    shutil.rmtree(place)
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before
