"""The machine that a testbed would run on: what bounds its size, rather than what it can do."""

from __future__ import annotations

import os
import platform
import resource

import msgspec
import psutil

from testbed.units import show_size


class Machine(msgspec.Struct, frozen=True):
    """What there is.

    Args:
        kernel, python: versions.
        cores: that this process may use.
        memory_bytes, available_bytes: of DRAM.
        open_files: hard limit of this user; a memory domain takes five.
        load: runnable processes, mean over the last minute.
    """

    kernel: str
    python: str
    cores: int
    memory_bytes: int
    available_bytes: int
    open_files: int
    load: float

    def describe(self) -> str:
        """In one line."""
        memory = f"{show_size(self.available_bytes)} of {show_size(self.memory_bytes)} available"
        return (
            f"Linux {self.kernel}, Python {self.python}, {self.cores} cores "
            f"(load {self.load:.1f}), {memory}, {self.open_files} open files"
        )


def machine() -> Machine:
    """This machine, now."""
    memory = psutil.virtual_memory()
    _, open_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Machine(
        kernel=platform.release(),
        python=platform.python_version(),
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=memory.total,
        available_bytes=memory.available,
        open_files=open_files,
        load=os.getloadavg()[0],
    )
