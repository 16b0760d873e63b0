"""Limits of cgroups, by either version, in directories that look like theirs."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from testbed.kernel.cgroups import directories, memory_room_bytes, mine, quota_cores


def group(place: Path, **files: str) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (place / name.replace("__", ".")).write_text(text)
    return place


def test_a_cgroup_and_all_above_it_are_found(tmp_path: Path) -> None:
    inner = group(tmp_path / "a" / "b")
    mounts = f"cgroup2 {tmp_path} cgroup2 rw 0 0\nproc /proc proc rw 0 0"
    assert directories("cpu", "0::/a/b\n", mounts) == [inner, tmp_path / "a", tmp_path]


def test_version_one_says_whose_a_controller_is(tmp_path: Path) -> None:
    mounts = f"cgroup2 /nowhere cgroup2 rw 0 0\ncgroup {tmp_path} cgroup rw,cpu,cpuacct 0 0"
    assert directories("cpu", "2:cpu,cpuacct:/\n0::/", mounts) == [tmp_path]


def test_a_path_of_the_host_leads_to_the_top_of_what_a_container_sees(tmp_path: Path) -> None:
    mounts = f"cgroup {tmp_path} cgroup rw,memory 0 0"
    assert directories("memory", "4:memory:/docker/0123", mounts) == [tmp_path]


def test_without_a_mount_nothing_is_known_and_without_cgroups_there_is_nothing() -> None:
    assert directories("cpu", "0::/", "proc /proc proc rw 0 0") is None
    assert directories("cpu", "", "proc /proc proc rw 0 0") == []


def test_the_smallest_quota_holds(tmp_path: Path) -> None:
    free = group(tmp_path / "free", cpu__max="max 100000")
    half = group(tmp_path / "half", cpu__max="50000 100000")
    first = group(tmp_path / "first", cpu__cfs_quota_us="150000", cpu__cfs_period_us="100000")
    none = group(tmp_path / "none", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    assert quota_cores([free, none, tmp_path]) == math.inf
    assert quota_cores([none, first]) == 1.5
    assert quota_cores([half, free, first]) == 0.5


def test_room_is_what_the_tightest_limit_leaves(tmp_path: Path) -> None:
    free = group(tmp_path / "free", memory__max="max")
    second = group(
        tmp_path / "second", memory__max="1000", memory__current="700",
        memory__stat="anon 500\ninactive_file 150\n",
    )  # fmt: skip
    first = group(
        tmp_path / "first", memory__limit_in_bytes="2000", memory__usage_in_bytes="1900",
        memory__stat="cache 5\ntotal_inactive_file 0\n",
    )  # fmt: skip
    assert memory_room_bytes([free, tmp_path]) == math.inf
    assert memory_room_bytes([second, free]) == 450
    assert memory_room_bytes([second, first]) == 100


@pytest.mark.parametrize("controller", ["cpu", "memory"])
def test_of_this_process_everything_can_be_read(controller: str) -> None:
    places = mine(controller) or []  # type: ignore[arg-type]
    assert quota_cores(places) > 0
    assert memory_room_bytes(places) > 0
