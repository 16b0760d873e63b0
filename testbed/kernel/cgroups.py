"""What cgroups let this process have, by either version of them, see cgroups(7).

A limit holds for everything below it, so a process's own cgroup counts and all above it.  Only
those below the mount point can be seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

Controller = Literal["cpu", "memory"]


def directories(controller: Controller, cgroup: str, mounts: str) -> list[Path] | None:
    """The directories of this process's cgroup and of those above it, its own first.

    Args:
        controller: whose hierarchy.
        cgroup: text of /proc/self/cgroup.
        mounts: text of /proc/self/mounts.

    Returns:
        None where there is such a hierarchy, but no file system to read it in.
    """
    groups = [line.split(":", 2) for line in cgroup.splitlines()]
    # With both versions mounted, a controller belongs to one of them: version 1 names it.
    first = [(path, True) for _, names, path in groups if controller in names.split(",")]
    second = [(path, False) for number, names, path in groups if number == "0" and not names]
    if not first and not second:
        return []
    path, is_first = (first or second)[0]
    for mount in mounts.splitlines():
        _, place, kind, options, *_ = mount.split(" ")
        named = kind == "cgroup" and controller in options.split(",")
        if named if is_first else kind == "cgroup2":
            top = Path(place)
            mine = top / path.lstrip("/")
            # In a container the path may be the host's: then the top is its own cgroup.
            return [p for p in (mine, *mine.parents) if p.is_relative_to(top) and p.is_dir()]
    return None


def mine(controller: Controller) -> list[Path] | None:
    """`directories` of this process."""
    return directories(
        controller, Path("/proc/self/cgroup").read_text(), Path("/proc/self/mounts").read_text()
    )


def quota_cores(places: Sequence[Path]) -> float:
    """Processors that quotas allow; infinite without one.

    Args:
        places: `directories` of "cpu".
    """
    return min(_quotas(places), default=math.inf)


def _quotas(places: Sequence[Path]) -> Iterator[float]:
    for place in places:
        words = _words(place / "cpu.max") or (  # version 2, else version 1
            _words(place / "cpu.cfs_quota_us") + _words(place / "cpu.cfs_period_us")
        )
        if len(words) == 2 and words[0] not in ("max", "-1"):
            yield int(words[0]) / int(words[1])


def memory_room_bytes(places: Sequence[Path]) -> float:
    """Memory that limits leave; infinite without one.

    File pages that nobody has used lately are given back first, so they count as room.

    Args:
        places: `directories` of "memory".
    """
    return min(_rooms(places), default=math.inf)


def _rooms(places: Sequence[Path]) -> Iterator[float]:
    for place in places:
        for limit, usage, old in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            words = _words(place / limit)
            if words and words[0] != "max":
                pairs = iter(_words(place / "memory.stat"))
                free_again = int(dict(zip(pairs, pairs, strict=True)).get(old, 0))
                used = int(_words(place / usage)[0])
                yield max(0, int(words[0]) - max(0, used - free_again))


def _words(file: Path) -> list[str]:
    """Of a file; none if a cgroup has no such file."""
    try:
        return file.read_text().split()
    except FileNotFoundError:
        return []
