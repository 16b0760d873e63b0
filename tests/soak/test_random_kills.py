"""A kill at a random moment of bring-up or run, many times over."""

from __future__ import annotations

import os
import random
import secrets
import shutil
import tempfile
from collections.abc import Iterator

import pytest

from tests.netns.sandbox import traces

_ROUNDS = 200


@pytest.fixture(autouse=True)
def _own_runtime_directory() -> Iterator[None]:
    before = os.environ.get("XDG_RUNTIME_DIR")
    os.environ["XDG_RUNTIME_DIR"] = base = tempfile.mkdtemp(prefix="tb-")
    yield
    shutil.rmtree(base)
    del os.environ["XDG_RUNTIME_DIR"]
    if before is not None:
        os.environ["XDG_RUNTIME_DIR"] = before


@pytest.mark.parametrize("victim", ["owner", "supervisor"])
@pytest.mark.parametrize("seed", range(_ROUNDS))
def test_it_leaves_nothing(victim: str, seed: int) -> None:
    traces.kill_at_random(victim, random.Random(seed).uniform(0.0, 0.6), secrets.token_hex(8))
