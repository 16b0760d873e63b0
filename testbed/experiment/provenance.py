"""Where a result comes from: software, kernel, machine and source, as they were.

What cannot be found out is null, with the reason where there is one to give.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

import testbed

DISTRIBUTION = "dualpath-testbed"
_GIT_TIMEOUT_S = 10.0
_REQUIREMENT_NAME = re.compile(r"[A-Za-z0-9._-]+")


def provenance(argv: Sequence[str]) -> dict[str, Any]:
    """Everything that run.json says of where a result comes from.

    Args:
        argv: the command line.
    """
    return {
        "command": list(argv),
        "versions": versions(),
        "kernel": kernel(),
        "machine": machine(),
        "git": git_state(Path(testbed.__file__).resolve().parents[1]),
    }


def versions() -> dict[str, Any]:
    """Python, this project and what it depends on."""
    found: dict[str, Any] = {"python": platform.python_version()}
    try:
        found[DISTRIBUTION] = metadata.version(DISTRIBUTION)
        required = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return found | {DISTRIBUTION: None}
    for requirement in required:
        name = _REQUIREMENT_NAME.match(requirement)
        if name is None or "extra ==" in requirement:
            continue
        try:
            found[name[0]] = metadata.version(name[0])
        except metadata.PackageNotFoundError:
            found[name[0]] = None
    return found


def kernel() -> dict[str, str]:
    """The running kernel, uname(2)."""
    name = os.uname()
    return {"release": name.release, "version": name.version, "architecture": name.machine}


def machine() -> dict[str, Any]:
    """Processor, memory, and how busy they are now."""
    memory = psutil.virtual_memory()
    return {
        "cpu_model": _cpu_model(Path("/proc/cpuinfo").read_text()),
        "cores": os.cpu_count(),
        "cores_usable": len(os.sched_getaffinity(0)),
        "memory_bytes": memory.total,
        "memory_available_bytes": memory.available,
        "load_average": list(os.getloadavg()),
    }


def _cpu_model(cpuinfo: str) -> str | None:
    """The processor's name: "model name" on x86, other words elsewhere."""
    fields: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    return fields.get("model name") or fields.get("Model") or fields.get("cpu model")


def git_state(root: Path) -> dict[str, Any] | None:
    """The commit of a checkout, and what differs from it; None where there is no checkout.

    Args:
        root: directory that holds the packages.
    """
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=normal")
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None)
        return {"commit": None, "dirty": None, "error": (said or str(error)).strip()}
    return {"commit": commit, "dirty": bool(changed), "changed_files": len(changed.splitlines())}


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *arguments],
        capture_output=True, text=True, check=True, timeout=_GIT_TIMEOUT_S,
    )  # fmt: skip
    return done.stdout.strip()
