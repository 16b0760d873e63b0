"""A kill at a random moment of bring-up or run, many times over; bystanders live."""

from __future__ import annotations

import random
import secrets
from pathlib import Path

import pytest

from tests.e2e import kills
from tests.netns.sandbox import bystanders, traces

_ROUNDS = 200
_RUNS = 25  # of each phase


@pytest.fixture(autouse=True)
def _own_runtime_directory(runtime_directory: Path) -> None:
    pass


@pytest.mark.parametrize("victim", ["owner", "supervisor"])
@pytest.mark.parametrize("seed", range(_ROUNDS))
def test_it_leaves_nothing(victim: str, seed: int) -> None:
    with bystanders.planted():
        traces.kill_at_random(victim, random.Random(seed).uniform(0.0, 0.6), secrets.token_hex(8))


@pytest.mark.parametrize("victim", ["supervisor", "command"])
@pytest.mark.parametrize("phase", kills.PHASES)
@pytest.mark.parametrize("seed", range(_RUNS))
def test_a_run_leaves_nothing(victim: str, phase: str, seed: int, tmp_path: Path) -> None:
    kills.kill_in_phase(victim, phase, seed, tmp_path)
