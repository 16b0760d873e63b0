from __future__ import annotations

import json
import subprocess
from pathlib import Path

from testbed.experiment.provenance import git_state, provenance


def git(root: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    return subprocess.run(
        ["git", "-C", str(root), *identity, *arguments],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip


def test_a_checkout_says_its_commit_and_what_differs(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-qm", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert git_state(tmp_path) == {"commit": commit, "dirty": False, "changed_files": 0}
    (tmp_path / "file").write_text("two")
    (tmp_path / "new").touch()
    assert git_state(tmp_path) == {"commit": commit, "dirty": True, "changed_files": 2}


def test_an_installed_package_has_no_checkout(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None


def test_a_checkout_that_git_cannot_read_says_why(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    found = git_state(tmp_path)
    assert found is not None
    assert found["commit"] is None
    assert "not a git repository" in found["error"]


def test_everything_known_of_the_origin_is_json() -> None:
    found = provenance(["testbed", "run", "demo"])
    assert json.loads(json.dumps(found)) == found
    assert found["command"] == ["testbed", "run", "demo"]
    assert found["machine"]["cores_usable"] >= 1
    assert found["machine"]["memory_bytes"] > found["machine"]["memory_available_bytes"] > 0
    assert found["kernel"]["release"]
    assert found["versions"]["python"].startswith("3.")
