"""The machine that a testbed would run on: what bounds its size, rather than what it can do."""

from __future__ import annotations

import os
import platform
import resource

import msgspec
import psutil

from testbed.kernel import cgroups
from testbed.units import show_size


class Machine(msgspec.Struct, frozen=True):
    """What there is.

    Args:
        kernel, python: versions.
        cores: that this process may use; a cgroup's quota may leave a part of one.
        memory_bytes, available_bytes: of DRAM.
        room_bytes: of what is available, what cgroups' limits leave to this process.
        open_files: hard limit of this user; a memory domain takes five.
        load: runnable processes, mean over the last minute.
    """

    kernel: str
    python: str
    cores: float
    memory_bytes: int
    available_bytes: int
    room_bytes: int
    open_files: int
    load: float

    def describe(self) -> str:
        """In one line."""
        memory = f"{show_size(self.room_bytes)} of {show_size(self.memory_bytes)} available"
        return (
            f"Linux {self.kernel}, Python {self.python}, {self.cores:g} cores "
            f"(load {self.load:.1f}), {memory}, {self.open_files} open files"
        )


def machine() -> Machine:
    """This machine, now."""
    memory = psutil.virtual_memory()
    quota = cgroups.quota_cores(cgroups.mine("cpu") or [])
    room_bytes = cgroups.memory_room_bytes(cgroups.mine("memory") or [])
    _, open_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Machine(
        kernel=platform.release(),
        python=platform.python_version(),
        cores=min(len(os.sched_getaffinity(0)), quota),
        memory_bytes=memory.total,
        available_bytes=memory.available,
        room_bytes=int(min(memory.available, room_bytes)),
        open_files=open_files,
        load=os.getloadavg()[0],
    )
