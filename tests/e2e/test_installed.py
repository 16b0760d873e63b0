"""The distribution, installed from its wheel into another environment, outside the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of an environment that has the wheel, and our dependencies by path."""
    place = tmp_path_factory.mktemp("installed") / "venv"
    venv.EnvBuilder(with_pip=False, symlinks=True).create(place)
    python = str(place / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", wheel], check=True)
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    )
    # A path only: the .pth files in there, such as that of the editable checkout, do not count.
    dependencies = Path(site.stdout.strip()) / "dependencies.pth"
    dependencies.write_text(sysconfig.get_path("purelib") + "\n")
    return place / "bin"


def run(command: list[str | Path], directory: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False
    )


def test_the_command_is_there(installed: Path, tmp_path: Path) -> None:
    ended = run([installed / "testbed", "--help"], tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert {"run", "model"} <= set(ended.stdout.split())


def test_it_runs_from_the_wheel_and_not_from_the_checkout(installed: Path, tmp_path: Path) -> None:
    show = "import {0}; print({0}.__file__)"
    for package in ("agents", "testbed", "topologies"):
        ended = run([installed / "python", "-c", show.format(package)], tmp_path)
        assert ended.returncode == 0, ended.stderr
        assert Path(ended.stdout.strip()).is_relative_to(installed.parent)


def test_the_shipped_scenarios_come_with_it(installed: Path, tmp_path: Path) -> None:
    ended = run([installed / "testbed", "scenarios"], tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "demo" in ended.stdout.split()
