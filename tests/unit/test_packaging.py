"""What is in the distribution, and in the lock."""

from __future__ import annotations

import configparser
import email
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("agents", "testbed", "topologies")
DATA = ("agents/scenarios/*.yaml", "testbed/report/templates/*", "*/py.typed")


@pytest.fixture(scope="module")
def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def _requirements(setup_cfg: configparser.ConfigParser) -> list[Requirement]:
    lines = setup_cfg["options"]["install_requires"].splitlines()
    for extra in setup_cfg["options.extras_require"].values():
        lines += extra.splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def test_the_wheel_holds_the_three_packages_with_their_data_and_nothing_else(wheel: Path) -> None:
    expected = {
        str(path.relative_to(ROOT)) for name in PACKAGES for path in (ROOT / name).rglob("*.py")
    }
    expected |= {str(path.relative_to(ROOT)) for pattern in DATA for path in ROOT.glob(pattern)} - {
        "scripts/py.typed",
        "tests/py.typed",
    }
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    metadata = {name for name in names if name.startswith("dualpath_testbed-")}
    assert names - metadata == expected
    assert all(".dist-info/" in name for name in metadata)


def test_the_wheel_says_what_it_is(wheel: Path, setup_cfg: configparser.ConfigParser) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (info,) = {name.partition("/")[0] for name in archive.namelist() if ".dist-info/" in name}
        metadata = email.message_from_bytes(archive.read(f"{info}/METADATA"))
        entry_points = configparser.ConfigParser()
        entry_points.read_string(archive.read(f"{info}/entry_points.txt").decode())
    assert metadata["Name"] == "dualpath-testbed"
    assert metadata["Version"] == setup_cfg["metadata"]["version"]
    assert metadata["Requires-Python"] == ">=3.11"
    assert entry_points["console_scripts"]["testbed"] == "testbed.cli.start:main"
    assert entry_points["testbed.workloads"]["dualpath"] == "agents.workload:DualPath"
    assert entry_points["testbed.verbs"]["dualpath"] == "agents.cli.verbs:VERBS"
    assert {Requirement(line).name for line in metadata.get_all("Requires-Dist", [])} == {
        requirement.name for requirement in _requirements(setup_cfg)
    }


def test_the_lock_pins_every_dependency_by_hash(setup_cfg: configparser.ConfigParser) -> None:
    text = (ROOT / "requirements.lock").read_text()
    pinned: dict[str, list[str]] = {}
    # An entry is a line with the pin, continued by lines with its hashes.
    for entry in re.sub(r"\\\n\s*", " ", text).splitlines():
        if entry.startswith("#") or not entry.strip():
            continue
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry
        pin = Requirement(entry.partition("--hash")[0])
        (version,) = pin.specifier
        assert version.operator == "==", entry
        pinned.setdefault(canonicalize_name(pin.name), []).append(version.version)
    for requirement in _requirements(setup_cfg):
        versions = pinned[canonicalize_name(requirement.name)]
        assert all(requirement.specifier.contains(v, prereleases=True) for v in versions), (
            f"{requirement} is not what the lock holds, {versions}: run `make lock`"
        )


def test_the_lock_names_no_index() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text


def test_nothing_that_is_kept_is_ignored() -> None:
    """What Git ignores, ruff does not look at, and a new file beside it is never committed."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("no checkout")
    listed = ["git", "ls-files", "--cached", "--ignored", "--exclude-standard"]
    found = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout == ""
