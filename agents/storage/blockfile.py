"""The file that a storage node's blocks lie in: sparse, locked, mapped into memory."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from pathlib import Path

from agents.storage.errors import CorruptBlock, StoreError, StoreFull
from testbed.errors import ConflictError
from testbed.units import show_size


class BlockFile:
    """A file of a fixed size, all zeros at first, that goes with its owner.

    Args:
        path: of the file; its directory is made if need be.
        size_bytes: disk (or tmpfs) space is taken by `claim`.

    Raises:
        ConflictError: another process uses it.
        StoreError: it cannot be made.
    """

    def __init__(self, path: Path, size_bytes: int) -> None:
        self.path = path
        self.size_bytes = size_bytes
        self.fd = _create(path, size_bytes)
        self.memory = memoryview(mmap.mmap(self.fd, size_bytes))

    def must_be_whole(self) -> None:
        """CorruptBlock if the file is shorter than it was made: touching the rest is a SIGBUS."""
        found = os.fstat(self.fd).st_size
        if found < self.size_bytes:
            raise CorruptBlock(
                f"{self.path} has {found} bytes instead of {self.size_bytes}",
                hint="something has cut it short",
            )

    def claim(self, offset: int, size_bytes: int) -> None:
        """Have space for a part of the file: missing it when a page is touched is a SIGBUS.

        Raises:
            StoreFull: there is none left.
        """
        try:
            os.posix_fallocate(self.fd, offset, size_bytes)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise StoreFull(
                f"no space for {show_size(size_bytes)} in {self.path.parent}: {error.strerror}",
                hint="free some, or keep storage in another directory",
            ) from error

    def close(self) -> None:
        """Remove the file.

        The mapping goes when the last view of `memory` does: a transport may still hold one.
        """
        if self.fd < 0:
            return
        self.path.unlink(missing_ok=True)
        os.close(self.fd)
        self.fd = -1
        self.memory = memoryview(b"")


def _create(path: Path, size_bytes: int) -> int:
    """A sparse file of that size, all zeros, locked for this process; its descriptor."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(
            f"cannot make {path}: {error.strerror}", hint="choose another storage directory"
        ) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(fd, 0)  # only now is it certain that nobody uses it
        os.ftruncate(fd, size_bytes)
    except OSError as error:
        os.close(fd)
        if isinstance(error, BlockingIOError):
            raise ConflictError(
                f"{path} is in use by another storage node",
                hint="give each its own directory, or end the other testbed",
            ) from error
        raise StoreError(
            f"cannot make {path} {show_size(size_bytes)} large: {error.strerror}",
            hint="give storage less room, or choose another directory",
        ) from error
    return fd
