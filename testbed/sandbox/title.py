"""What ps(1) and top(1) call a process that was forked and does not exec: what it runs.

Without it, every module that the zygote runs would go by the supervisor's command line.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

_COMM = Path("/proc/self/comm")
_ARG_START, _ARG_END = 45, 46  # in proc_pid_stat(5), counted from the field behind `comm`


def set_title(name: str, argv: Sequence[str]) -> None:
    """Show this process under a name and a command line.

    Args:
        name: of the thread, what `ps -o comm` shows; the kernel cuts it to 15 bytes.
        argv: what /proc/self/cmdline shows; cut to the room that the process was started with.
    """
    _COMM.write_text(name)
    fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
    start, end = int(fields[_ARG_START]), int(fields[_ARG_END])
    room = end - start - 1  # the last byte stays 0: else the kernel reads on, into the environment
    if start == 0 or room <= 0:
        return  # the kernel does not say where it is
    line = b"\0".join(argument.encode() for argument in argv)[:room]
    ctypes.memmove(start, line.ljust(room + 1, b"\0"), room + 1)
