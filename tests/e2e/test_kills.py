"""A killed run leaves nothing.  pe0 ══ [storage] ══ st0, pe0 ── [pe0c0] ── [de0c0] ── de0"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e import kills


@pytest.fixture(autouse=True)
def _own_runtime_directory(runtime_directory: Path) -> None:
    pass


@pytest.mark.parametrize("phase", kills.PHASES)
@pytest.mark.parametrize("seed", range(2))
def test_a_killed_supervisor_takes_its_agents_along(phase: str, seed: int, tmp_path: Path) -> None:
    kills.kill_in_phase("supervisor", phase, seed, tmp_path)


@pytest.mark.parametrize("phase", kills.PHASES)
def test_a_killed_command_takes_its_agents_along(phase: str, tmp_path: Path) -> None:
    kills.kill_in_phase("command", phase, 0, tmp_path)
