"""The distribution, installed from its wheel into another environment, outside the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.e2e.small import small_demo

pytestmark = pytest.mark.xdist_group("installed")  # its fixtures are dear


def environment(place: Path, *wheels: Path) -> Path:
    """The bin directory of an environment that has wheels, and our dependencies by path."""
    venv.EnvBuilder(with_pip=False, symlinks=True).create(place)
    python = str(place / "bin" / "python")
    install = [Path(sys.executable).with_name("uv"), "pip", "install", "--python", python]
    for wheel in wheels:
        subprocess.run(
            [*install, "--quiet", "--no-deps", "--offline", "--no-cache", wheel], check=True
        )
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


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of an environment that has the wheel."""
    return environment(tmp_path_factory.mktemp("installed") / "venv", wheel)


def other_wheel(directory: Path, files: dict[str, str]) -> Path:
    """The wheel of another distribution, with these files."""
    info = "otherkit-1.0.dist-info"
    contents = {
        **files,
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: otherkit\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    names = [*contents, f"{info}/RECORD"]
    contents[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in names)
    path = directory / "otherkit-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in contents.items():
            archive.writestr(name, text)
    return path


def run(
    command: list[str | Path], directory: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    environment |= variables
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


def test_experiments_are_of_a_checkout_and_it_says_so(installed: Path, tmp_path: Path) -> None:
    ended = run([installed / "testbed", "experiments"], tmp_path)
    assert ended.returncode == 5
    assert "they are scripts that are not installed" in ended.stderr
    place = Path(__file__).resolve().parents[2] / "scripts" / "experiments"
    study = ["experiment", "table1_cache_compute", "--quick", "--json", "--dir", str(place)]
    ended = run([installed / "testbed", *study], tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / json.loads(ended.stdout)["page"]).is_file()


def test_the_demo_runs_from_the_wheel_whatever_lies_around(installed: Path, tmp_path: Path) -> None:
    for name in ("numpy.py", "agents.py"):
        (tmp_path / name).write_text("raise SystemExit('of the working directory')")
    runtime = tempfile.mkdtemp(prefix="tb-")  # short: it is part of a socket's path
    demo = small_demo("--json", "--accept-unfaithful", policies="[pe-only]")
    ended = run([installed / "testbed", *demo], tmp_path, XDG_RUNTIME_DIR=runtime)
    left = list((Path(runtime) / "testbed").iterdir())
    shutil.rmtree(runtime)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["bytes_verified"] > 0
    page = (tmp_path / found["run"] / "report.html").read_text()
    assert 'id="figure-timelines"' in page and 'id="figure-split"' in page
    assert left == []


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"agents/__init__.py": "from agents import nowhere"}, "has put its own 'agents'"),
        ({"agents/models/__init__.py": ""}, "cannot be imported"),  # before our models.py
    ],
    ids=["package", "module"],
)
def test_a_distribution_that_writes_into_our_package_is_told(
    files: dict[str, str], told: str, wheel: Path, tmp_path: Path
) -> None:
    place = environment(tmp_path / "venv", wheel, other_wheel(tmp_path, files))
    ended = run([place / "testbed", "predict", "demo"], tmp_path)
    assert ended.returncode == 6, ended.stderr
    assert told in ended.stderr
    assert "an environment of its own" in ended.stderr
    assert "Traceback" not in ended.stderr
