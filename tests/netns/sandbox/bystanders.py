"""Processes that are no business of a testbed: whatever happens to it, they live on."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

_UNSHARE = ["unshare", *(["--user"] if os.getuid() else []), "--net"]


@contextlib.contextmanager
def planted() -> Iterator[None]:
    """A process in a network namespace of its own, which is the same in the end."""
    process = subprocess.Popen(
        [*_UNSHARE, "sh", "-c", "echo there; exec cat"],
        env={"PATH": os.environ["PATH"]},  # untagged
        stdin=subprocess.PIPE,  # at whose end it ends: also when this process is killed
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        net = Path(f"/proc/{process.pid}/ns/net").readlink()
        yield
        assert process.poll() is None
        assert Path(f"/proc/{process.pid}/ns/net").readlink() == net
        process.kill()
